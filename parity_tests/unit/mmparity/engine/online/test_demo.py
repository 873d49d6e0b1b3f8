# SPDX-License-Identifier: Apache-2.0
"""One image and one question to both endpoints, side by side, also in a browser."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from webdriver import Browser

from mmparity.cli import main
from mmparity.engine.online.demo import ask_both, page
from mmparity.engine.online.servers import free_port
from mmparity.engine.online.types import Settings
from mmparity.extras import EXTRAS

Material = tuple[Path, Path]


def asked(endpoints: Any, material: Material) -> tuple[str, str, str, list[list[str]]]:
    old, new = endpoints
    image = next(iter(sorted(material[0].iterdir())))
    judged = asyncio.run(
        ask_both((old.url, new.url), image, "What is this?", Settings())
    )
    return page(judged)


def test_answers_and_times_stand_side_by_side(
    endpoints: Any, material: Material
) -> None:
    verdict, old, new, rows = asked(endpoints, material)
    assert verdict.startswith("## THE SAME")
    assert "Whatisthis?" in old and "Whatisthis?" in new
    assert "first token" in old and "3 tokens, length" in new
    assert [row[:2] for row in rows] == [["0", "What"], ["1", "is"], ["2", "this?"]]
    assert rows[0][2:] == ["-0.5000", "What", "-0.5000", "0"]


def test_what_differs_is_in_its_row(endpoints: Any, material: Material) -> None:
    endpoints[1].words = lambda prompt: [("What", -0.75), ("was", -0.5)]
    verdict, _, _, rows = asked(endpoints, material)
    assert verdict.startswith("## DIFFERENT")
    assert [row[-1] for row in rows] == ["0.25", "other token", "other token"]
    assert rows[2][3:5] == ["", ""]


def test_without_gradio_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    arguments = ["demo", "--old", "http://127.0.0.1:1", "--new", "http://127.0.0.1:2"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "gradio is not installed" in done.output
    assert "make setup EXTRA=demo" in done.output


@pytest.fixture
def shown(endpoints: Any) -> Iterator[str]:
    """The page's address."""
    found = importlib.util.find_spec("gradio") or (EXTRAS / "demo/gradio").is_dir()
    if not found:
        pytest.skip("needs gradio (make setup EXTRA=demo)")
    old, new = endpoints
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mmparity", "demo", "--old", old.url),
            *("--new", new.url, "--port", str(port)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    address, end = f"http://127.0.0.1:{port}/", time.monotonic() + 120
    try:
        while time.monotonic() < end and process.poll() is None:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def wait(browser: Browser, script: str) -> None:
    """Until the script's answer is true; a loaded machine takes its time."""
    end = time.monotonic() + 60
    while not (found := browser.run(f"return {script}")) and time.monotonic() < end:
        time.sleep(0.1)
    assert found, script


def element(browser: Browser, selector: str) -> str:
    found = browser.send("POST", "/element", using="css selector", value=selector)
    return str(next(iter(found.values())))


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_asks_both_and_nobody_else(
    shown: str, browser: Browser, material: Material, tmp_path: Path
) -> None:
    browser.log("performance")  # the new tab's own
    browser.send("POST", "/url", url=shown)
    wait(browser, "document.querySelector('input[type=file]') !== null")
    image = element(browser, "input[type=file]")
    browser.send("POST", f"/element/{image}/value", text=str(material[0] / "red.png"))
    wait(browser, "document.querySelector('img[src*=\"red\"]') !== null")
    prompt = element(browser, "textarea")
    browser.send("POST", f"/element/{prompt}/value", text="What is this?")
    browser.send("POST", f"/element/{element(browser, 'button.primary')}/click")
    wait(browser, "document.body.innerText.includes('THE SAME')")
    script = "return [...document.querySelectorAll('textarea')].map((t) => t.value)"
    _, old, new = browser.run(script)[:3]
    assert old.startswith("Whatisthis?") and new.startswith("Whatisthis?")
    browser.screenshot(Path(os.environ.get("SHOT") or tmp_path / "demo.png"))
    asked = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in browser.log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    elsewhere = [
        url for url in asked if not url.startswith((shown, "data:", "blob:", "chrome:"))
    ]
    assert asked and elsewhere == []
