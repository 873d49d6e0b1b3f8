# SPDX-License-Identifier: Apache-2.0
"""What is said of a worker that says nothing, or that ends without a word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmparity.capture import worker_process
from mmparity.capture.job import Event, Job
from mmparity.capture.worker_process import Worker, WorkerFailed
from mmparity.processes import Command


def heard_of(code: str, tmp_path: Path, name: str = "installed") -> list[Event]:
    """The events of a worker that runs ``code``."""
    python = tmp_path / "its python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    python.chmod(0o755)
    job = Job(name, {}, "checkpoint", (), python=str(python))
    heard: list[Event] = []
    with Worker(job, tmp_path / "job.json", tmp_path / "log", Command(())) as worker:
        worker.finish(heard.append)
    return heard


def test_silence_is_told_again_and_again_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "SILENCE_SECONDS", 0.1)
    say = """print("{\\"event\\": \\"%s\\"}" % name, flush=True)"""
    code = f"""
import time
for name, wait in (("loading", 0.35), ("done", 0)):
    {say}
    time.sleep(wait)
"""
    heard = heard_of(code, tmp_path)
    assert heard[-1].event == "done"
    after = [event.message for event in heard[heard.index(Event("loading")) :]]
    told = "nothing heard for 0 s after 'loading'; its log: " + str(tmp_path / "log")
    assert after.count(told) >= 2


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(0)", "before it said anything with exit status 0"),
        ("os._exit(3)", "before it said anything with exit status 3"),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
    ],
)
def test_one_that_ends_without_a_word_has_an_empty_log_and_a_next_step(
    tmp_path: Path, end: str, said: str
) -> None:
    with pytest.raises(WorkerFailed) as caught:
        heard_of(f"import os, sys; {end}", tmp_path)
    text = str(caught.value)
    assert said in text
    assert f"try `'{tmp_path}/its python' -c 'import vllm'`" in text
    assert text.endswith(f"Its log is empty: {tmp_path / 'log'}")


def test_the_next_step_is_that_of_an_installed_vllm_before_it_is_loaded(
    tmp_path: Path,
) -> None:
    loaded = """print("{\\"event\\": \\"loaded\\"}")"""
    for code, name in (("1 / 0", "unified"), (f"{loaded}; 1 / 0", "installed")):
        with pytest.raises(WorkerFailed, match=r"The last lines of .*log:\n") as caught:
            heard_of(code, tmp_path, name)
        assert "ZeroDivisionError" in str(caught.value)
        assert "import vllm" not in str(caught.value)
