# SPDX-License-Identifier: Apache-2.0
"""Forks of a warm process behave as processes that were started cold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mmparity.fork_server import Fork, ForkServer, fork_server
from mmparity.processes import TOOLS

RUNS = """
import os, sys, time
import imported_once

def main(arguments):
    what, *rest = arguments
    print(what, imported_once.BY, os.getpid(), os.environ.get("SAID"), flush=True)
    if what == "echo":
        print(sys.stdin.readline().strip(), flush=True)
        print("to the log", file=sys.stderr)
    if what == "raise":
        raise ValueError("no such thing")
    if what == "sleep":
        time.sleep(600)
    return int(rest[0]) if rest else 0
"""
PARENT = """
import sys
from pathlib import Path
from mmparity.fork_server import fork_server
log = Path(sys.argv[1])
with fork_server("imported_once", "runs_in_forks", log / "server", {}) as server:
    fork = server.start(["sleep"], log / "fork", {})
    print(fork.pid, fork.stdout.readline().split()[1], flush=True)
    fork.wait()
"""

ITSELF = """
import sys
from pathlib import Path
import imported_once
from mmparity.fork_server import forks_of_this
log = Path(sys.argv[1]) / "log"
with forks_of_this("runs_in_forks") as server:
    forks = [server.start(["status", number], log, {}) for number in "45"]
    for fork in forks:
        print(fork.stdout.readline(), end="", flush=True)
    print(imported_once.BY, [fork.wait() for fork in forks])
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "imported_once.py").write_text("import os\nBY = os.getpid()\n")
    (tmp_path / "runs_in_forks.py").write_text(RUNS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def server(modules: Path) -> Iterator[ForkServer]:
    log = modules / "server.log"
    with fork_server("imported_once", "runs_in_forks", log, {}) as server:
        yield server


def said(fork: Fork) -> list[str]:
    return fork.stdout.readline().split()


def test_forks_share_what_was_imported_and_nothing_else(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAID", "before")
    one = server.start(["echo"], tmp_path / "one.log", {})
    two = server.start(["status", "3"], tmp_path / "two.log", {"SAID": "for two"})
    _, by, pid, variable = said(one)
    assert said(two)[1:] == [by, str(two.pid), "for", "two"]
    assert (pid, variable) == (str(one.pid), "before")
    assert int(by) not in (one.pid, two.pid, os.getpid())
    one.stdin.write("hello\n")
    one.stdin.flush()
    assert (one.wait(), two.wait()) == (0, 3)
    assert one.stdout.read() == "hello\n"
    assert (tmp_path / "one.log").read_text() == "to the log\n"


def test_an_error_is_in_the_log_of_its_fork(server: ForkServer, tmp_path: Path) -> None:
    fork = server.start(["raise"], tmp_path / "log", {})
    assert fork.wait() == 1
    assert "ValueError: no such thing" in (tmp_path / "log").read_text()


def test_a_fork_is_ended_with_its_group(server: ForkServer, tmp_path: Path) -> None:
    fork = server.start(["sleep"], tmp_path / "log", {})
    said(fork)
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0.05)
    fork.end()
    assert fork.returncode == -signal.SIGTERM
    other = server.start(["sleep"], tmp_path / "log", {})
    os.kill(other.pid, signal.SIGKILL)
    assert other.wait() == -signal.SIGKILL


def test_several_threads_wait_for_one_fork(server: ForkServer, tmp_path: Path) -> None:
    """As the reader of its output does, and who ends it."""
    for number in range(20):
        fork = server.start(["sleep"], tmp_path / f"log{number}", {})
        assert fork.pid
        with ThreadPoolExecutor(8) as pool:
            waits = [pool.submit(fork.wait) for _ in range(8)]
            fork.end()
            assert {wait.result() for wait in waits} == {-signal.SIGTERM}


def test_forks_end_with_their_server(server: ForkServer, tmp_path: Path) -> None:
    running = server.start(["sleep"], tmp_path / "log", {})
    os.kill(int(said(running)[1]), signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    late = server.start(["status"], tmp_path / "log", {})
    assert late.wait() == -signal.SIGKILL
    assert gone(running.pid)


def test_forks_end_with_who_started_the_server(modules: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(modules)],
        env={**os.environ, "PYTHONPATH": f"{TOOLS}:{modules}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert all(map(gone, pids))


def test_a_fork_that_nobody_waits_for_any_more_ends_no_other(
    server: ForkServer, tmp_path: Path
) -> None:
    by = int(said(server.start(["status"], tmp_path / "first.log", {}))[1])
    os.kill(by, signal.SIGSTOP)
    gone = server.start(["status"], tmp_path / "gone.log", {})
    gone.end()
    del gone
    os.kill(by, signal.SIGCONT)
    assert server.start(["status", "3"], tmp_path / "next.log", {}).wait(20) == 3


def test_a_server_that_cannot_import_is_a_killed_fork(modules: Path) -> None:
    log = modules / "server.log"
    with fork_server("not_there", "runs_in_forks", log, {}) as server:
        fork = server.start(["status"], modules / "log", {})
        assert fork.wait() == -signal.SIGKILL
        fork.end()
    assert "No module named 'not_there'" in (modules / "log").read_text()


def gone(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    _, left = psutil.wait_procs([process], 10)
    return not [item for item in left if item.status() != psutil.STATUS_ZOMBIE]


def test_a_process_can_be_its_own_server(modules: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ITSELF, str(modules)],
        env={**os.environ, "PYTHONPATH": f"{TOOLS}:{modules}"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, own = done.stdout.splitlines()
    _, by, one, *_ = first.split()
    assert second.split()[:2] == ["status", by]
    assert own == f"{by} [4, 5]"
    assert len({by, one, second.split()[2]}) == 3


def test_a_fork_can_be_ended_the_moment_that_it_is_known(
    server: ForkServer, tmp_path: Path
) -> None:
    for number in range(40):
        fork = server.start(["sleep"], tmp_path / str(number), {})
        os.killpg(fork.pid, signal.SIGKILL)
        assert fork.wait(30) == -signal.SIGKILL
