# SPDX-License-Identifier: Apache-2.0
"""Servers and evaluations of two environments: started, compared, and ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mmparity.cli import main
from mmparity.engine.online.load import PROMPTS, load

Python = Callable[..., str]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def serve(out: Path, old: str, new: str, *more: str) -> Result:
    given = ("--old", old, "--new", new, "--model", "m", "--out", str(out))
    return invoke("serve", *given, "--requests", "6", "--concurrency", "2", *more)


def test_both_servers_are_asked_measured_and_ended(
    python: Python, tmp_path: Path
) -> None:
    done = serve(tmp_path / "out", python("a"), python("b"))
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "out/serve.json").read_text())
    assert [run["summary"]["same"] for run in data["runs"].values()] == [6, 6]
    assert data["streamed against not"].keys() == {"old", "new"}
    assert data["bench"]["same"] == 6
    kept = {file.name for file in (tmp_path / "out/bench").glob("*.json")}
    assert kept == {"old.json", "new.json"}
    page = (tmp_path / "out/serve.md").read_text()
    assert "vllm bench serve" in page and "| first token, ms p95 | 95 | 95 |" in page
    assert_ended(data)


@pytest.mark.parametrize(
    ("wrong", "status", "message"),
    [
        ("other answers", 1, "streamed: 6 of 6 answers differ"),
        ("failed benchmark", 2, "vllm bench serve: new: 5 of 6 requests were answered"),
        ("no tokens", 1, "vllm bench serve: 1 of 6 answers differ"),
        ("broken server", 2, "| no such device"),
    ],
)
def test_a_side_that_is_not_the_same_is_no_pass(
    python: Python, tmp_path: Path, wrong: str, status: int, message: str
) -> None:
    more = ["--no-bench"] if wrong == "other answers" else []
    done = serve(tmp_path / "out", python("a"), python("b", wrong), *more)
    assert done.exit_code == status, done.output
    assert message in " ".join(done.output.split())


def test_what_was_measured_is_kept_when_the_benchmark_fails(
    python: Python, tmp_path: Path
) -> None:
    done = serve(tmp_path / "out", python("a"), python("b", "no benchmark"))
    assert done.exit_code == 2 and "| no such dataset" in done.output
    data = json.loads((tmp_path / "out/serve.json").read_text())
    assert data["verdict"] == "error"
    assert data["reason"] == "vllm bench serve: it did not finish"
    assert [run["summary"]["same"] for run in data["runs"].values()] == [6, 6]
    assert "it did not finish" in (tmp_path / "out/serve.md").read_text()


def test_ended_by_a_signal_no_server_is_left_and_what_was_measured_is_kept(
    python: Python, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mmparity", "serve", "--model", "m"),
            *("--old", python("a", "endless benchmark"), "--new", python("b")),
            *("--requests", "2", "--concurrency", "2", "--out", str(out)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 90
    while not (out / "bench/started").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 2
    data = json.loads((out / "serve.json").read_text())
    assert data["verdict"] == "error" and data["runs"]["streamed"]["verdict"] == "pass"
    assert_ended(data)


def assert_ended(data: dict[str, Any]) -> None:
    """Nobody listens where the servers were."""
    for side in data["runs"]["streamed"]["sides"].values():
        port = int(side["url"].removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_what_is_no_side_is_refused(tmp_path: Path) -> None:
    done = serve(tmp_path, "unifed", "unified")
    assert done.exit_code == 2 and "unified" in done.output
    done = serve(tmp_path, "./nowhere/python", "unified")
    assert done.exit_code == 2 and "./nowhere/python is no program" in done.output
    done = invoke("serve", "--old", "./x", "--new", "/bin/sh", "--out", str(tmp_path))
    assert done.exit_code == 2


def test_the_load_starts_with_the_tutorials_question_about_a_photograph(
    tmp_path: Path,
) -> None:
    asked = load(tmp_path, 200)
    assert asked[0].image == "00-china.png" and asked[0].prompt == PROMPTS[0]
    assert len({(one.uri, one.prompt) for one in asked}) == 200


def accuracy(out: Path, *more: str) -> tuple[Result, dict[str, Any]]:
    done = invoke("accuracy", "--out", str(out), *more)
    file = out / "accuracy.json"
    return done, json.loads(file.read_text()) if file.exists() else {}


MODEL = ("--model", "Qwen/Qwen3-VL-8B-Instruct")


def test_accuracy_beside_the_old_and_the_published_one(
    python: Python, tmp_path: Path
) -> None:
    done, data = accuracy(tmp_path, *MODEL, "--old", python("a"), "--new", python("b"))
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in data["beside"]] == ["old", "published"]
    assert data["beside"][1]["value"] == 0.5389
    assert "4 of 4 answers are equal" in done.output


def test_a_new_side_that_cannot_run_is_said_before_old_takes_its_hours(
    python: Python, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    given = (*MODEL, "--old", python("a"), "--new", str(bare))
    done, _ = accuracy(tmp_path / "out", *given)
    assert done.exit_code == 2
    assert "bare has no lm_eval" in done.stderr
    assert "lm_eval of" not in done.stderr


def test_a_lower_accuracy_is_no_pass(python: Python, tmp_path: Path) -> None:
    worse = python("b", "less accurate")
    done, data = accuracy(tmp_path, *MODEL, "--old", python("a"), "--new", worse)
    assert done.exit_code == 1, done.output
    assert data["answers"] == {"compared": 4, "equal": 0}
    # Both alike, but away from what was published.
    done, data = accuracy(tmp_path, *MODEL, "--old", worse, "--new", worse)
    assert done.exit_code == 1
    assert [row["same"] for row in data["beside"]] == [True, False]


def test_nothing_to_compare_with_is_no_pass(python: Python, tmp_path: Path) -> None:
    done, _ = accuracy(tmp_path, "--model", "other", "--new", python("b"))
    assert done.exit_code == 2
    assert "nothing to compare with: give --old" in done.output
    # The published accuracy is of all questions.
    done, _ = accuracy(tmp_path, *MODEL, "--new", python("b"), "--limit", "5")
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nothing installed", "has no lm_eval. Run `"),
        ("no accuracy", "lm_eval left no accuracy of mmmu_val"),
    ],
)
def test_what_could_not_be_evaluated_is_no_pass(
    python: Python, tmp_path: Path, wrong: str, message: str
) -> None:
    done, _ = accuracy(tmp_path, *MODEL, "--new", python("b", wrong))
    assert done.exit_code == 2
    assert message in done.output
