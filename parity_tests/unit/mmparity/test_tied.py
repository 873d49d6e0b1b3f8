# SPDX-License-Identifier: Apache-2.0
"""A started command ends as it ends, and no later than who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmparity import processes
from mmparity.processes import started

TOOLS = Path(processes.__file__).parents[1]
STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)"
)
FAMILY = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
PARENT = f"""
import os, sys, time
from pathlib import Path
from mmparity.processes import started
process = started([sys.executable, "-c", {FAMILY!r}], Path(sys.argv[1]), os.environ)
print(process.pid, process.stdout.readline(), flush=True)
time.sleep(600)
"""


def run(code: str, log: Path) -> subprocess.Popen[str]:
    return started([sys.executable, "-c", code], log, os.environ)


def _unignored() -> None:
    """What starts tests in the background may have it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def gone(pids: set[int], seconds: float) -> set[int]:
    """Those of the processes that are still there in the end."""
    end = time.monotonic() + seconds
    while (left := {pid for pid in pids if alive(pid)}) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_a_command_started_ends_with_a_parent_that_is_ended(
    tmp_path: Path,
) -> None:
    """By each signal; at once, for each takes the seconds of grace."""
    pids = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path / number.name)],
            env={**os.environ, "PYTHONPATH": str(TOOLS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=_unignored,
        )
        assert parent.stdout
        pids[number] = {int(word) for word in parent.stdout.readline().split()}
        assert len(pids[number]) == 3 and all(map(alive, pids[number]))
        parent.send_signal(number)
        parent.communicate()
    assert {number.name for number in pids if gone(pids[number], 15)} == set()


def test_a_parent_that_ends_at_once_takes_its_command_along(tmp_path: Path) -> None:
    code = PARENT.replace("print(process.pid", "os._exit(0); print(process.pid")
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    subprocess.run(command, env=environment, check=True)
    marker = str(tmp_path / "log")
    end = time.monotonic() + 15
    while holders(marker) and time.monotonic() < end:
        time.sleep(0.1)
    assert holders(marker) == []


def holders(file: str) -> list[int]:
    """Processes that have the file open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/2"):
        try:
            if str(link.readlink()) == file:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import os; os.abort()", -signal.SIGABRT),
    ],
)
def test_its_end_is_the_commands(tmp_path: Path, code: str, status: int) -> None:
    process = run(code, tmp_path / "log")
    process.communicate()
    assert process.returncode == status


def test_it_reads_answers_and_is_logged(tmp_path: Path) -> None:
    code = "import sys; print(input()); print('why', file=sys.stderr)"
    process = run(code, tmp_path / "logs" / "log")
    assert process.communicate("word\n")[0] == "word\n"
    assert (tmp_path / "logs" / "log").read_text() == "why\n"
    command = [sys.executable, "-c", "print('said')"]
    process = started(command, tmp_path / "log", os.environ, answers=False)
    process.communicate()
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    process = started(["/no/such"], tmp_path / "log", os.environ)
    process.communicate()
    assert process.returncode == 1
    said = (tmp_path / "log").read_text()
    assert said == "/no/such cannot be started: No such file or directory\n"


def test_a_stubborn_command_is_ended(tmp_path: Path) -> None:
    process = run(STUBBORN, tmp_path / "log")
    assert process.stdout and process.stdout.readline() == "up\n"
    process.end()
    assert process.returncode == -signal.SIGKILL
