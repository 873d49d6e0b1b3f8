# SPDX-License-Identifier: Apache-2.0
"""Runs one worker process from the parent's side. Knows no implementation.

The worker gets its own process group, so that it and everything it starts end
with the parent, and its standard error goes to a log file as it comes.
"""

from __future__ import annotations

import contextlib
import queue
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from mmparity.capture.job import GO, Event, Job
from mmparity.errors import MmparityError
from mmparity.fork_server import ForkServer, fork_server, forks_of_this
from mmparity.processes import Command, Starter, end_of
from mmparity.workload.implementations import UNPINNED

WORKER = Command((sys.executable, "-m", "mmparity.capture.worker"))
"""Starts a worker that imports everything itself."""
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait leave their core to the worker that imports meanwhile."""
SILENCE_SECONDS = 30.0
"""After so long without an event it is said where the worker's log is."""


def worker_of(python: str) -> Command:
    """Starts a worker of another environment, which no fork of this one can be."""
    return Command((python, *WORKER.words[1:]))


class WorkerFailed(MmparityError):
    """The worker did not finish; the message carries the end of its log."""


class Worker:
    """One started worker process.

    It imports its framework at once and then waits, until ``finish`` lets it load and
    capture. Ended with everything it started at the end of the ``with``.
    """

    def __init__(
        self,
        job: Job,
        job_file: Path,
        log: Path,
        starter: Starter = WORKER,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.job, self.log = job, log
        job.write(job_file)
        arguments = [str(job_file.resolve())]
        starter = worker_of(job.python) if job.python else starter
        self.process = starter.start(arguments, log, environment or {})

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()

    def finish(self, on_event: Callable[[Event], None]) -> None:
        """Hands each event on; returns only if all of the job was done.

        Long silences are told as events too, of the kind ``noted``.
        """
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; its log says why
            process.stdin.write(GO)
            process.stdin.flush()
        last: Event | None = None
        for event, silence in _said(process.stdout):
            if event is not None:
                last = event
                on_event(event)
            else:
                after = f" after {last.event!r}" if last else ""
                text = f"nothing heard for {silence:.0f} s{after}; its log: {self.log}"
                on_event(Event("noted", message=text))
        status = process.wait()
        if status != 0 or last is None or last.event != "done":
            raise WorkerFailed(_failure(self.job, status, last, self.log))


def _said(answers: IO[str]) -> Iterator[tuple[Event | None, float]]:
    """Each event of a worker until it ends; None and the seconds in long silences."""
    said: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    hear(answers, said.put)
    silence = 0.0
    while True:
        try:
            event = said.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            silence += SILENCE_SECONDS
            yield None, silence
            continue
        if event is None:
            return
        silence = 0.0
        yield event, silence


def hear(answers: IO[str], tell: Callable[[Event | None], None]) -> None:
    """Tells each event of a process as it comes, and None at its end, from a thread."""

    def read() -> None:
        with contextlib.suppress(ValueError):  # it was closed meanwhile
            for line in answers:
                event = Event.from_line(line)
                if event is not None:
                    tell(event)
        tell(None)

    threading.Thread(target=read, daemon=True).start()


def may_fork(device: str) -> bool:
    """Whether a device's worker may be the fork of a process that imported packages.

    An accelerator's runtime does not work in a fork of a process that has asked for its
    devices, and packages ask while they are imported: torch._inductor of CUDA.
    """
    return device == "cpu"


@contextmanager
def warm_workers(device: str) -> Iterator[Starter]:
    """Starts workers as forks of one process that has imported their packages.

    Where ``may_fork`` says no, they import everything themselves.
    """
    if not may_fork(device):
        yield WORKER
        return
    with warm_forks() as server:
        yield server


@contextmanager
def warm_forks() -> Iterator[ForkServer]:
    """A server that has imported the packages of workers, on this CPU.

    It is a fork of this process where that has imported them.
    """
    modules = "mmparity.capture.packages", "mmparity.capture.worker"
    if modules[0] in sys.modules:
        with forks_of_this(modules[1]) as server:
            yield server
        return
    with (
        TemporaryDirectory(prefix="mmparity-") as folder,
        fork_server(*modules, Path(folder, "log"), WAITING) as server,
    ):
        yield server


def run_worker(
    job: Job,
    job_file: Path,
    log: Path,
    on_event: Callable[[Event], None],
    starter: Starter = WORKER,
) -> None:
    """Runs ``job`` and hands each event on; returns only if all of it was done."""
    with Worker(job, job_file, log, starter) as worker:
        worker.finish(on_event)


def _failure(job: Job, status: int, last: Event | None, log: Path) -> str:
    name = job.implementation
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
    if name in UNPINNED and (last is None or last.event == "loading"):
        text += f": try `{shlex.quote(job.python)} -c 'import vllm'`"
    return f"{text}\n{end_of(log)}"
