# SPDX-License-Identifier: Apache-2.0
"""Real runs that are ended at a bad moment, and the same command after that.

One run is killed once its cache holds two of four traces; each test goes on from a
copy of what that left. The commands are forks of a process that has imported what
they import.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mmparity.fork_server import Fork, ForkServer
from mmparity.trace.reader import TraceReader

FILE_BYTES = 1 << 20
"""Less than a trace's file of one block, more than anything else that is written."""
RESULT = {"comparison.json", "report.html", "report.md", "report.xml"}


@dataclass
class Place:
    """Folder of a run's output, cache and what it said."""

    root: Path
    commands: ForkServer

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def entries(self) -> list[Path]:
        return sorted((self.root / "cache").glob("[0-9a-f]*"))

    @property
    def said(self) -> str:
        return (self.root / "said").read_text()

    def start(self, limit: int = resource.RLIM_INFINITY) -> Fork:
        """The command, with files of at most ``limit`` bytes: a disk that is full."""
        words = ["run", "--old", "vllm-0.12.0", "--new", "unified", "--case", "ragged"]
        words += ["--depth", "2", "--cache", str(self.root / "cache")]
        return self.commands.start(
            [str(limit), *words, "--out", str(self.out)], self.root / "said", {}
        )


def wait_for(command: Fork, there: Callable[[], bool]) -> set[psutil.Process]:
    """Until it is there; the processes that the command has then."""
    process = psutil.Process(command.pid)
    end = time.monotonic() + 300
    while not there():
        assert process.is_running() and time.monotonic() < end
        time.sleep(0.02)
    return {process, *process.children(recursive=True)}


def all_end(processes: set[psutil.Process]) -> bool:
    _, left = psutil.wait_procs(processes, 30)
    return not [item for item in left if item.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> Place:
    """What a run leaves that is killed when half of unified is captured."""
    place = Place(tmp_path_factory.mktemp("killed"), forks.running("commands"))
    place.out.mkdir()
    for name in RESULT:
        (place.out / name).write_text("of an earlier run")
    process = place.start()
    before = "unified: ragged float32 captured"
    processes = wait_for(
        process, lambda: len(place.entries) == 2 or before in place.said
    )
    os.kill(process.pid, signal.SIGKILL)
    assert all_end(processes)
    return place


@pytest.fixture
def place(killed: Place, tmp_path: Path) -> Place:
    shutil.copytree(killed.root, tmp_path / "place", copy_function=os.link)
    (tmp_path / "place" / "said").unlink()  # written anew, not shared
    return Place(tmp_path / "place", killed.commands)


def test_a_killed_run_leaves_whole_traces_and_no_result(killed: Place) -> None:
    assert "unified: ragged bfloat16 captured" in killed.said
    assert "unified: ragged float32 captured" not in killed.said
    traces = [TraceReader(entry) for entry in killed.entries]
    names = {(trace.meta.implementation, trace.meta.dtype) for trace in traces}
    assert names == {("hf", "float64"), ("unified", "bfloat16")}
    for trace in traces:
        for record in trace.records:
            trace.read(record.hook_point)
    assert not RESULT & {file.name for file in killed.out.iterdir()}


def test_the_same_command_takes_them_over_and_finishes(place: Place) -> None:
    process = place.start()
    assert process.wait(300) == 0, place.said
    result = json.loads((place.out / "comparison.json").read_text())
    taken = {(t["implementation"], t["dtype"]) for t in result["reuse"]["traces"]}
    assert taken == {("hf", "float64"), ("unified", "bfloat16")}
    assert (result["verdict"], result["reuse"]["captured"]) == ("pass", 3)
    assert {file.name for file in place.out.iterdir()} >= RESULT
    assert not (place.out / "traces").exists()
    assert len(place.entries) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_leaves_no_process(
    place: Place, number: signal.Signals
) -> None:
    process = place.start()
    processes = wait_for(process, lambda: "unified: 1 to capture" in place.said)
    os.kill(process.pid, number)
    assert process.wait(60) == 2
    assert all_end(processes)
    assert "interrupted; what was compared so far is kept" in place.said
    assert "Traceback" not in place.said
    result = json.loads((place.out / "comparison.json").read_text())
    assert result["verdict"] == "error"
    assert {case["reason"] for case in result["cases"]} == {"the run was interrupted"}
    assert {file.name for file in place.out.iterdir()} >= RESULT
    assert not (place.out / "traces").exists()
    assert len(place.entries) == 2


def test_a_full_disk_is_one_sentence_with_the_folder_and_what_is_free(
    place: Place,
) -> None:
    process = place.start(FILE_BYTES)
    assert process.wait(300) == 2
    trace = place.out / "traces" / "unified" / "ragged-float32"
    why = f"unified could not run: {trace} cannot be written to: File too large. "
    (line,) = [line for line in place.said.splitlines() if why in line]
    assert "bytes are free there. Make room" in line
    assert "Traceback" not in place.said
    result = json.loads((place.out / "comparison.json").read_text())
    assert {case["reason"] for case in result["cases"]} == {line}
    assert not (place.out / "traces").exists()
    assert len(place.entries) == 2
