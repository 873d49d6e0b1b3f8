# SPDX-License-Identifier: Apache-2.0
"""Tensor parallelism: one process for each rank, started by the worker.

The ranks capture side by side; what they captured is put together afterwards. A
rank that dies or says nothing any more ends them all, with the end of its log.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mmparity.capture.gather import gather_traces
from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.worker_process import WORKER, hear
from mmparity.errors import MmparityError
from mmparity.processes import Process, Starter, end_of

LATE_SECONDS = 3.0
"""So long are the other ranks heard after one failed: it may be their victim."""


class RankFailed(MmparityError):
    """A rank died, failed or hung; the message has the end of its log."""


@dataclass
class _Rank:
    number: int
    process: Process
    log: Path
    heard: float
    last: Event | None = None
    ended: bool = False

    @property
    def failed(self) -> bool:
        done = self.last is not None and self.last.event == "done"
        return self.ended and not (done and self.process.returncode == 0)


def run_ranks(
    job: Job, emit: Callable[[Event], None], starter: Starter = WORKER
) -> None:
    """Runs the job on ``job.tp`` ranks and leaves one trace for each capture."""
    with tempfile.TemporaryDirectory(prefix="mmparity-") as folder:
        logs = Path(job.rank_logs or folder)
        logs.mkdir(parents=True, exist_ok=True)
        parts = [_job_of(job, number, Path(folder)) for number in range(job.tp)]
        try:
            _supervise(parts, Path(folder), logs, emit, starter)
            for number, item in enumerate(job.captures):
                pieces = [Path(part.captures[number].out) for part in parts]
                gather_traces(pieces, Path(item.out))
        finally:
            for part in parts:
                for item in part.captures:
                    shutil.rmtree(item.out, ignore_errors=True)


def _job_of(job: Job, number: int, folder: Path) -> Job:
    def beside(item: CaptureJob) -> CaptureJob:
        out = Path(item.out)
        return replace(item, out=str(out.with_name(f".{out.name}.rank{number}")))

    threads = job.threads or max(1, (os.cpu_count() or 1) // job.tp)
    return replace(
        job,
        rank=number,
        meeting_point=f"file://{folder}/rendezvous",
        threads=threads,
        captures=tuple(beside(item) for item in job.captures),
    )


def _supervise(
    parts: list[Job],
    folder: Path,
    logs: Path,
    emit: Callable[[Event], None],
    starter: Starter,
) -> None:
    said: queue.Queue[tuple[int, Event | None]] = queue.Queue()
    ranks: list[_Rank] = []
    try:
        for part in parts:
            ranks.append(_start(part, folder, logs, said, starter))
        _listen(ranks, said, parts[0].silence_seconds, emit)
    finally:
        for rank in ranks:
            rank.process.end()


def _start(
    job: Job,
    folder: Path,
    logs: Path,
    said: queue.Queue[tuple[int, Event | None]],
    starter: Starter,
) -> _Rank:
    assert job.rank is not None
    file, log = folder / f"rank{job.rank}.json", logs / f"rank{job.rank}.log"
    job.write(file)
    process = starter.start([str(file)], log, {})

    number = job.rank

    def tell(event: Event | None) -> None:
        if event is None:
            process.wait()
        said.put((number, event))

    assert process.stdout is not None
    hear(process.stdout, tell)
    return _Rank(job.rank, process, log, time.monotonic())


def _listen(
    ranks: list[_Rank],
    said: queue.Queue[tuple[int, Event | None]],
    silence: float,
    emit: Callable[[Event], None],
) -> None:
    """Until all ranks are done; hands on what the first one says."""
    deadline = float("inf")
    while not all(rank.ended for rank in ranks):
        now = time.monotonic()
        first = min(rank.heard for rank in ranks if not rank.ended)
        until = min(deadline, first + silence)
        try:
            number, event = said.get(timeout=max(until - now, 0.01))
        except queue.Empty:
            if time.monotonic() >= until:
                break
            continue
        rank = ranks[number]
        rank.heard, rank.ended = time.monotonic(), event is None
        rank.last = event or rank.last
        if rank.failed and deadline == float("inf"):
            deadline = time.monotonic() + LATE_SECONDS
        if number == 0 and event and event.event not in ("done", "error"):
            emit(event)
    failed = [rank for rank in ranks if rank.failed]
    hung = [rank for rank in ranks if not rank.ended]
    if failed or hung:
        raise RankFailed(_message(failed, hung, silence, len(ranks)))


def _message(failed: list[_Rank], hung: list[_Rank], silence: float, count: int) -> str:
    """Who failed; one that died without a word is the cause of others' errors."""
    if not failed:
        rank = min(hung, key=lambda rank: rank.heard)
        text = f"rank {rank.number} of {count} said nothing for {silence:.0f} s"
    else:
        rank = min(failed, key=lambda r: r.last is not None and r.last.event == "error")
        status = rank.process.returncode
        if rank.last is not None and rank.last.event == "error":
            text = f"rank {rank.number} of {count} could not run: {rank.last.message}"
        elif status is not None and status < 0:
            name = signal.Signals(-status).name
            text = f"rank {rank.number} of {count} was ended by {name}"
        else:
            text = f"rank {rank.number} of {count} ended with exit status {status}"
    return f"{text}.\n{end_of(rank.log)}"
