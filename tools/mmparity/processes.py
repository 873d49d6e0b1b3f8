# SPDX-License-Identifier: Apache-2.0
"""One way to start, quote and end a process of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmparity.tied import GRACE_SECONDS, tied

TOOLS = Path(__file__).resolve().parents[1]
TAIL_LINES = 15


def started(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    stdin: int = subprocess.PIPE,
    cwd: Path | None = None,
    *,
    answers: bool = True,
) -> subprocess.Popen[str]:
    """A group of its own that ends with this process, its standard error in ``log``.

    With ``answers`` its standard output can be read line by line, else it is there too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr:
        return subprocess.Popen(
            tied(command),
            stdin=stdin,
            stdout=subprocess.PIPE if answers else stderr,
            stderr=stderr,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )


def end_group(process: subprocess.Popen[str]) -> None:
    """Ends the whole group: a worker's children can outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def tail_of(log: Path, lines: int = TAIL_LINES) -> str:
    """The end of a log, as messages quote it."""
    tail = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  | {line}" for line in tail)
