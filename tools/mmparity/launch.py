# SPDX-License-Identifier: Apache-2.0
"""Runs one worker process from the parent's side. Knows no implementation.

The worker gets its own process group, so that it and everything it starts end
with the parent, and its standard error goes to a log file as it comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmparity.jobs import Event, Job
from mmparity.types import MmparityError

WORKER = (sys.executable, "-m", "mmparity.worker")
TOOLS = Path(__file__).resolve().parents[1]
TAIL_LINES = 15
GRACE_SECONDS = 5.0


class WorkerFailed(MmparityError):
    """The worker did not finish; the message carries the end of its log."""


def run_worker(
    job: Job,
    job_file: Path,
    log: Path,
    on_event: Callable[[Event], None],
    command: Sequence[str] = WORKER,
) -> None:
    """Runs ``job`` and hands each event on; returns only if all of it was done."""
    job.write(job_file)
    log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(TOOLS), os.environ.get("PYTHONPATH"))))
    last: Event | None = None
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, str(job_file.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            cwd=TOOLS,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = Event.from_line(line)
                if event is not None:
                    last = event
                    on_event(event)
            status = process.wait()
        finally:
            _end(process)
    if status != 0 or last is None or last.event != "done":
        raise WorkerFailed(_failure(job.implementation, status, last, log))


def _end(process: subprocess.Popen[str]) -> None:
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
    if process.stdout is not None:
        process.stdout.close()


def _failure(name: str, status: int, last: Event | None, log: Path) -> str:
    if last is not None and last.event == "error":
        text = f"{name} could not run: {last.message}"
        if last.kind == "input":
            return f"{text}\nIts log: {log}"
    elif status < 0:
        text = f"{name} was ended by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            text += " (often: out of memory)"
    else:
        step = f"after {last.event!r}" if last else "before it said anything"
        text = f"{name} ended {step} with exit status {status}"
    tail = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    lines = "\n".join(f"  | {line}" for line in tail)
    return f"{text}\nThe last lines of {log}:\n{lines}"
