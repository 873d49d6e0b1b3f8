# SPDX-License-Identifier: Apache-2.0
"""Two endpoints are asked alike, and what differs in their answers is told apart."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mmparity.cli import main

Material = tuple[Path, Path]
GUIDE = (Path(__file__).resolve().parents[5] / "docs/serving.md").read_text()


class Asking:
    """`mmparity serve-compare` on two endpoints."""

    def __init__(self, endpoints: Any, material: Material, out: Path) -> None:
        self.old, self.new = endpoints
        self.material, self.out = material, out

    def arguments(self, *more: str) -> list[str]:
        images, prompts = self.material
        return [
            *("serve-compare", "--old", self.old.url, "--new", self.new.url),
            *("--images", str(images), "--prompts", str(prompts)),
            *("--requests", "12", "--concurrency", "3", "--out", str(self.out)),
            *more,
        ]

    def run(self, *more: str) -> Result:
        return CliRunner().invoke(main, self.arguments(*more))

    def data(self) -> dict[str, Any]:
        return json.loads((self.out / "serving.json").read_text())


@pytest.fixture
def asking(endpoints: Any, material: Material, tmp_path: Path) -> Asking:
    return Asking(endpoints, material, tmp_path / "out")


def changed(place: int, word: str, logprob: float) -> Any:
    """Answers with another token at a place, and other tokens after it."""

    def words(prompt: str) -> list[tuple[str, float]]:
        usual = [(text, -0.5) for text in prompt.split()]
        usual[place:] = [(word, logprob), (" entirely", -3.0)]
        return usual

    return words


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_equal_endpoints_are_the_same(asking: Asking, stream: str) -> None:
    done = asking.run(stream)
    assert done.exit_code == 0, done.output
    data = asking.data()
    assert data["verdict"] == "pass" and data["compared_by"] == "token ids"
    assert data["summary"]["same"] == 12 and data["summary"]["distinct_questions"] == 4
    for side in ("old", "new"):
        figures = data["sides"][side]
        assert (figures["answered"], figures["errors"], figures["retries"]) == (
            12,
            0,
            0,
        )
        total = figures["total_seconds"]
        assert 0 < total["p50"] <= total["p95"] <= total["p99"]
        assert (figures["first_token_seconds"] is not None) == (stream == "--stream")
        assert figures["requests_per_second"] == pytest.approx(12 / figures["seconds"])
    page = (asking.out / "serving.md").read_text()
    assert page.startswith("## THE SAME: 12 answers are the same.")


def test_both_are_asked_the_tutorials_request(asking: Asking) -> None:
    asking.run("--requests", "4", "--max-tokens", "7")
    old, new = ([r for r in side.asked if r["max_tokens"] == 7] for side in
                (asking.old, asking.new))  # fmt: skip
    key = json.dumps
    assert sorted(map(key, old)) == sorted(map(key, new)) and len(old) == 4
    system, user = old[0]["messages"]
    assert system == {"role": "system", "content": "You are a helpful assistant."}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    uris = {r["messages"][1]["content"][0]["image_url"]["url"][:15] for r in old}
    assert uris == {"data:image/jpeg", "data:image/png;"}
    assert old[0]["temperature"] == 0 and old[0]["top_logprobs"] == 20


def test_as_many_in_flight_as_asked_for(asking: Asking) -> None:
    asking.old.delay = 0.02
    asking.run()
    assert asking.old.busiest == 3


def test_another_token_that_was_clearly_less_likely_differs(asking: Asking) -> None:
    asking.new.words = changed(1, " or", -0.4)
    done = asking.run()
    assert done.exit_code == 1
    assert "DIFFERENT: 12 of 12 answers differ" in done.output
    row = asking.data()["answers"][0]
    assert row["first_difference"] == 1 and row["compared_tokens"] == 1
    assert row["reason"] == "token 1 is not among the likeliest of the other side"


def test_two_tokens_as_likely_are_a_near_tie(asking: Asking) -> None:
    asking.old.others = lambda p: {" or": p - 0.05}
    asking.new.others = lambda p: {"is": p - 0.1, "colour": p - 0.1}
    asking.new.words = changed(1, " or", -0.5)
    done = asking.run()
    assert done.exit_code == 0, done.output
    row = asking.data()["answers"][0]
    assert row["verdict"] == "near tie" and row["gaps"] == pytest.approx([0.05, 0.1])
    assert "12 of them up to a near tie" in done.output
    assert asking.run("--near-tie", "0.08").exit_code == 1


def test_the_same_tokens_with_other_logprobs_differ(asking: Asking) -> None:
    asking.new.words = lambda prompt: [(word, -0.9) for word in prompt.split()]
    done = asking.run()
    assert done.exit_code == 1
    assert "logprob of token 0 differs by 0.4, allowed 0.25" in done.output
    assert asking.run("--tolerance", "0.5").exit_code == 0


def test_another_length_of_the_prompt_differs(asking: Asking) -> None:
    asking.new.prompt_tokens = 99
    done = asking.run()
    assert done.exit_code == 1
    assert "the prompt has 100 and 99 tokens" in done.output


def test_without_logprobs_greedy_text_decides_and_it_is_said(asking: Asking) -> None:
    asking.new.refused = "logprobs"
    done = asking.run()
    assert done.exit_code == 0, done.output
    assert "by greedy text alone" in done.output
    assert "new: Error code: 400" in done.output
    assert asking.data()["compared_by"] == "text"
    assert "logprobs" not in asking.old.asked[-1]
    asking.new.words = changed(1, " or", -0.5)
    assert asking.run().exit_code == 1


def test_an_endpoint_that_is_not_vllm_is_compared_by_texts(asking: Asking) -> None:
    asking.new.refused = "return_tokens_as_token_ids"
    assert asking.run().exit_code == 0
    assert asking.data()["compared_by"] == "token texts"


def test_what_may_pass_is_tried_again_and_counted(asking: Asking) -> None:
    asking.old.statuses = [503, 429]
    done = asking.run()
    assert done.exit_code == 0, done.output
    assert asking.data()["sides"]["old"]["retries"] == 2


def test_a_stream_that_is_cut_is_no_answer(asking: Asking) -> None:
    asking.new.cut_streams = 1
    done = asking.run("--retries", "0")
    assert done.exit_code == 2, done.output
    assert "the stream ended before the answer did" in done.output


def test_an_error_that_stays_is_no_pass(asking: Asking) -> None:
    asking.new.statuses = [400] * 12
    done = asking.run()
    assert done.exit_code == 2
    assert "COULD NOT BE COMPARED" in done.output and "not now" in done.output
    data = asking.data()
    assert data["sides"]["new"]["errors"] == data["summary"]["error"] == 12
    assert data["sides"]["new"]["retries"] == 0


def test_empty_answers_are_no_pass(asking: Asking) -> None:
    for side in (asking.old, asking.new):
        side.refused = "logprobs"
        side.words = lambda prompt: [("", -0.5)]
    done = asking.run()
    assert done.exit_code == 2
    assert "the answer is empty" in done.output


def test_an_endpoint_that_is_not_there_is_named(asking: Asking) -> None:
    asking.new.url = "http://127.0.0.1:9"
    done = asking.run()
    assert done.exit_code == 2
    assert "http://127.0.0.1:9/v1 does not answer" in done.output
    assert not asking.out.exists()


def test_what_is_no_chat_completion_is_no_answer(asking: Asking) -> None:
    asking.new.statuses = [200]  # and an error as its body
    done = asking.run("--retries", "0", "--no-stream")
    assert done.exit_code == 2, done.output
    assert "that is no chat completion" in done.output
    assert asking.data()["summary"]["error"] == 1


class Page(BaseHTTPRequestHandler):
    """A web page, wherever one looks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>a proxy</html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_endpoint_that_is_a_web_page_is_named(asking: Asking) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asking.new.url = f"http://127.0.0.1:{server.server_port}"
        done = asking.run()
        server.shutdown()
    assert done.exit_code == 2
    assert f"{asking.new.url}/v1/models is no list of models" in done.output
    assert not asking.out.exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--old-model", "large", "does not serve 'large'. Allowed: small"),
        ("--old", "127.0.0.1:8000", "is no endpoint's address"),
        ("--images", "nowhere", "no such folder"),
        ("--images", ".", "no image in it"),
        ("--prompts", "nowhere.txt", "cannot be read"),
    ],
)
def test_bad_input_is_refused(
    asking: Asking,
    option: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = asking.run(option, value)
    assert done.exit_code == 2
    assert message in done.output


def test_interrupted_keeps_what_was_measured(asking: Asking) -> None:
    asking.old.delay = asking.new.delay = 0.05
    process = subprocess.Popen(
        [sys.executable, "-m", "mmparity", *asking.arguments("--requests", "2000")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 30
    while len(asking.new.asked) < 20 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 2
    data = asking.data()
    assert data["verdict"] == "error" and data["reason"].startswith("interrupted: ")
    assert 10 < data["summary"]["same"] < 2000
    assert data["summary"]["same"] == data["summary"]["compared"]


def test_the_operators_command_is_answered_by_the_page(
    endpoints: Any, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/serving.md has it, on two servers that run already."""
    blocks = re.findall(r"^```\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (line,) = [
        line
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        if "serve-compare" in line
    ]
    assert "`build/serving/serving.md` starts with the answer" in GUIDE
    images, prompts = material
    monkeypatch.chdir(tmp_path)
    images.rename("photos")
    assert prompts.name == "prompts.txt"
    old, new = endpoints
    for port, side in (("8000", old), ("8001", new)):
        assert f"http://127.0.0.1:{port}" in line
        line = line.replace(f"http://127.0.0.1:{port}", side.url)
    words = shlex.split(line)[1:]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    page = Path("build/serving/serving.md").read_text()
    assert page.startswith("## THE SAME: 200 answers are the same.")
    assert "requests/s" in page and "first token" in page
    new.words = changed(1, " or", -0.4)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1, done.output
    page = Path("build/serving/serving.md").read_text()
    assert page.startswith("## DIFFERENT: 200 of 200 answers differ")
