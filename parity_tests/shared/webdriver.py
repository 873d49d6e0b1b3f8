# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium for tests, driven over WebDriver's HTTP interface."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

ENTER, TAB, SPACE = "\ue007", "\ue004", " "
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--window-size=1440,900",
)


def chromium() -> str | None:
    """The program, under any of its names."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """The few commands of the WebDriver protocol that the tests use."""

    def __init__(self, server: str, profile: Path) -> None:
        self.server = server
        options = {
            "args": [*FLAGS, f"--user-data-dir={profile}"],
            "binary": chromium(),
        }
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        value = self.send("POST", "", capabilities={"alwaysMatch": capabilities})
        self.server += "/" + value["sessionId"]

    def send(self, method: str, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.server + path,
            json.dumps(body).encode() if method == "POST" else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def open(self, page: Path, fragment: str = "") -> None:
        self.send("POST", "/url", url="about:blank")
        self.send("POST", "/url", url=page.as_uri() + fragment)

    def run(self, script: str, *args: Any) -> Any:
        return self.send("POST", "/execute/sync", script=script, args=list(args))

    def devtools(self, command: str, **given: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.send("POST", "/goog/cdp/execute", cmd=command, params=given)

    def wait(self, expected: Any, script: str) -> None:
        """Events follow a key press in their own time."""
        end = time.monotonic() + 10
        while (found := self.run(script)) != expected and time.monotonic() < end:
            time.sleep(0.05)
        assert found == expected

    def axe(self) -> list[str]:
        """What axe-core calls serious or critical on the page: rule and place."""
        folder = resources.files("axe_core_python")
        self.run(folder.joinpath("axe.min.js").read_text(encoding="utf-8"))
        script = """
            const done = arguments[arguments.length - 1];
            axe.run().then((found) => done(found.violations
                .filter((one) => ["serious", "critical"].includes(one.impact))
                .flatMap((one) => one.nodes.map((n) => `${one.id}: ${n.target}`))));
        """
        return list(self.send("POST", "/execute/async", script=script, args=[]))

    def press(self, *keys: str) -> None:
        actions = [
            {"type": kind, "value": key}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self.send("POST", "/actions", actions=[source])

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.send("POST", "/se/log", type=kind))

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def text(self, selector: str) -> str:
        return str(
            self.run("return document.querySelector(arguments[0]).innerText", selector)
        )

    def visible_rows(self, case: str) -> list[str]:
        script = """
            const rows = document.querySelectorAll(
                `table[data-case="${arguments[0]}"] tr.row`);
            return [...rows].filter((row) => row.checkVisibility())
                .map((row) => row.querySelector("th").innerText);
        """
        return list(self.run(script, case))


@contextmanager
def started(home: Path) -> Iterator[Browser]:
    """A browser whose profile is in ``home``. LookupError where there is no driver."""
    driver = shutil.which("chromedriver")
    if driver is None:
        raise LookupError("needs chromedriver (apt-get install chromium-driver)")
    process = subprocess.Popen(
        [driver, "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "HOME": str(home)},
    )
    try:
        assert process.stdout is not None
        line = next(one for one in process.stdout if "started successfully" in one)
        port = line.rsplit("on port", 1)[1].strip(" .\n")
        browser = Browser(f"http://127.0.0.1:{port}/session", home / "profile")
        yield browser
        browser.send("DELETE", "")
    finally:
        process.terminate()
        process.wait(timeout=30)
