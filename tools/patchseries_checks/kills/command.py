# SPDX-License-Identifier: Apache-2.0
"""One command in a process group of its own, killed at one of its steps."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from patchseries.cli import main as patchseries

KILLS = {
    "process": (signal.SIGKILL, False),
    "group": (signal.SIGKILL, True),
    "Ctrl-C": (signal.SIGINT, True),
}
MOMENTS = ("before", "moving", "refs", "done", "undone", "after")
"""The steps of the journal, and what is before and after it."""
HANGS = 99
_CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod",
            "ctypes.dlsym", "subprocess.Popen")  # fmt: skip
_PATIENCE_S = 120.0
_REACHED = b"!"


@dataclass(frozen=True)
class Death:
    """When and how a command ends: at a step, or a while after it."""

    step: int
    delay_s: float
    kill: str

    def __str__(self) -> str:
        return f"{self.kill} at step {self.step} +{self.delay_s * 1000:.1f} ms"

    def strike(self, child: int) -> None:
        """Send the signal."""
        number, group = KILLS[self.kill]
        (os.killpg if group else os.kill)(child, number)


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Attributes:
        code: its exit status, negative for a signal, `HANGS` when it had no end.
        hit: whether the signal came before its end.
        moments: the step of the journal at each of its own steps, when it came to
            its end.
    """

    code: int
    hit: bool
    moments: tuple[str, ...]
    output: str


def run(words: tuple[str, ...], stage: Path, death: Death | None = None) -> Run:
    """Run a command in a child, killed as asked for.

    Args:
        stage: the folder in which it has its journal.
    """
    reads, writes = os.pipe()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as trace:
        child = os.fork()
        if not child:
            os.close(reads)
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            _command(words, _Watch(stage, death, writes), trace.fileno())
        os.close(writes)
        hit = _strike_late(reads, child, death) if death and death.delay_s else False
        code = _wait(child)
        os.close(reads)
        for file in (output, trace):
            file.seek(0)
        moments = tuple(json.loads(trace.read() or "[]"))
        if death and not death.delay_s:
            hit = len(moments) >= death.step
        return Run(code, hit or code < 0, moments, output.read())


class _Watch:
    """Sees every step of this process; a step may be its last."""

    def __init__(self, stage: Path, death: Death | None, pipe: int) -> None:
        self.moments: list[str] = []
        self._stage = stage
        self._death = death
        self._pipe = pipe

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(details[2], int) and details[2] & 3
        if not writes and event not in _CHANGES:
            return
        self.moments.append(self._moment())
        if self._death and self._death.step == len(self.moments):
            if self._death.delay_s:
                os.write(self._pipe, _REACHED)
            else:
                self._death.strike(os.getpid())

    def _moment(self) -> str:
        for step in MOMENTS[1:-1]:
            if (self._stage / f"{step}.json").exists():
                return step
        return "after" if set(self.moments) - {"before"} else "before"


def _command(words: tuple[str, ...], watch: _Watch, trace: int) -> NoReturn:
    code = 70
    try:  # whatever comes, a Ctrl-C after the end too: the stack below is the parent's
        os.setsid()
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        sys.addaudithook(watch)
        try:
            patchseries(list(words), standalone_mode=False)
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os.write(trace, json.dumps(watch.moments).encode())
    finally:
        os._exit(code)


def _strike_late(pipe: int, child: int, death: Death) -> bool:
    """Kill the child a while after it has said that it is at the step."""
    ready, _, _ = select.select([pipe], [], [], _PATIENCE_S)
    if not ready or os.read(pipe, 1) != _REACHED:
        return False
    time.sleep(death.delay_s)
    if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        return False
    death.strike(child)
    return True


def _wait(child: int) -> int:
    """The exit status; a command that hangs is killed, which is a broken outcome."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HANGS
