# SPDX-License-Identifier: Apache-2.0
"""Captured on one machine, compared on another; and a capture that was killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from mmparity.capture.job import GO, CaptureJob, Event, Job
from mmparity.cli import main
from mmparity.fork_server import ForkServer

if TYPE_CHECKING:
    from conftest import Captures

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "running-on-npu.md"
SMALL = ["--depth", "2", "--grid", "1,8,12"]


def recipe() -> tuple[list[str], list[str]]:
    """The commands of the guide: on the machine with the NPU, and on the other."""
    text = GUIDE.read_text().split("## Compare with another machine\n")[1]
    blocks = re.findall(r"^```\n(.*?)^```", text.split("\n## ")[0], re.M | re.S)
    there, here = (block.splitlines() for block in blocks)
    return there, here


def follow(
    line: str, machine: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> Result | None:
    """Runs one command; captures are made small, and on this machine's CPU."""
    monkeypatch.chdir(machine)
    words = shlex.split(line.replace("--device npu", "--device cpu"))
    if words[0] != ".venv/bin/mmparity":
        subprocess.run(words, check=True)
        return None
    if words[1] == "capture":
        words += SMALL
    return CliRunner().invoke(main, words[1:], obj=forks)


def test_the_recipe_of_the_guide_compares_what_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> None:
    npu, other = tmp_path / "npu", tmp_path / "other"
    npu.mkdir()
    other.mkdir()
    there, here = recipe()
    for line in there:
        result = follow(line, npu, monkeypatch, forks)
        assert result is None or result.exit_code == 0, result.output
    shutil.move(npu / "on-npu.tgz", other)
    shutil.rmtree(npu)
    for line in here:
        result = follow(line, other, monkeypatch, forks)
        assert result is None or result.exit_code == 0, result.output
    found = json.loads((other / "build/npu-here/comparison.json").read_text())
    assert found["verdict"] == "pass"
    (case,) = found["cases"]
    assert case["id"] == "grid-1x8x12/bfloat16/ascend-0.11.0:unified-ascend"
    assert len(case["layers"]) > 30
    kept = follow(here[3], other, monkeypatch, forks)
    assert kept is not None
    assert "hf: grid-1x8x12 float64 kept, captured before" in kept.stderr


def test_a_killed_capture_goes_on_with_the_case_it_was_at(
    tmp_path: Path, captures: Captures, forks: ForkServer
) -> None:
    names = ("first", "second", "third")
    items = tuple(
        CaptureJob(name, captures.inputs, "float64", str(tmp_path / name))
        for name in names
    )
    job = Job("hf", {}, captures.checkpoint, items, depth=2, resume=True)
    assert said(job, tmp_path, forks, kill_after="captured") == [("captured", "first")]
    before = (tmp_path / "first" / "trace.json").stat().st_mtime_ns
    events = said(job, tmp_path, forks)
    assert events[0] == ("kept", "first")
    assert [name for event, name in events if event == "captured"] == list(names[1:])
    assert (tmp_path / "first" / "trace.json").stat().st_mtime_ns == before


def said(
    job: Job, folder: Path, forks: ForkServer, kill_after: str = ""
) -> list[tuple[str, str]]:
    """What a worker says of cases, until its end or until it is killed."""
    job.write(folder / "job.json")
    process = forks.start([str(folder / "job.json")], folder / "log", {})
    process.stdin.write(GO)
    process.stdin.flush()
    found = []
    for line in process.stdout:
        event = Event.from_line(line)
        if event and event.event in ("kept", "captured"):
            found.append((event.event, event.case or ""))
            if event.event == kill_after:
                os.killpg(process.pid, signal.SIGKILL)
                break
    process.wait()
    process.end()
    return found
