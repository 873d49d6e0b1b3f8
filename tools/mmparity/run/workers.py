# SPDX-License-Identifier: Apache-2.0
"""Who captures in a run: worker processes of this machine, one capturing at a time.

Anything else that can fill the run's trace folders is another ``Crew``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.worker_process import WAITING, Worker
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.run.noise import twins
from mmparity.run.plan import ORACLE
from mmparity.run.prepare import Subject
from mmparity.run.stage_clock import StageClock
from mmparity.types.comparison import CaseComparison
from mmparity.workload.models import DEFAULT_MODEL


class Watcher(Protocol):
    """Is told how far the run is."""

    def event(self, implementation: str, event: Event) -> None:
        """A worker said something."""

    def compared(self, case: CaseComparison, seconds: float) -> None:
        """A case was judged."""

    def failed(self, message: str) -> None:
        """Something could not run; the run goes on with the rest."""


@dataclass
class RunState:
    """What has happened so far; ``captured`` and ``broken`` of the present batch."""

    captured: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)
    cases: list[CaseComparison] = field(default_factory=list)
    clock: StageClock = field(default_factory=StageClock)
    raised: list[str] = field(default_factory=list)
    """What encoders raised, with the implementation, the case and the module."""
    broken_cases: dict[tuple[str, str], str] = field(default_factory=dict)
    """(implementation, case) -> why that case alone could not be captured."""

    def heard(self, implementation: str, event: Event) -> None:
        """Counts what a worker says that it took."""
        if event.event == "raised":
            case = f"{implementation}: {event.case} {event.dtype}"
            self.raised.append(f"{case}: {event.message}")
        self.clock.noted(implementation, event)
        if event.peak_memory_bytes is not None:
            peak = self.peak_memory.get(implementation, 0)
            self.peak_memory[implementation] = max(peak, event.peak_memory_bytes)

    def why_broken(self, name: str, case: str) -> str | None:
        """Why an implementation has no trace of a case."""
        return self.broken.get(name) or self.broken_cases.get((name, case))


class Crew(Protocol):
    """The workers of a batch, in a ``with``."""

    def __enter__(self) -> Crew:
        """Makes ready."""

    def __exit__(self, *_: object) -> None:
        """Ends all of them."""

    def capture_all(
        self, names: Sequence[str], state: RunState, watcher: Watcher
    ) -> None:
        """Captures what of ``names`` was not captured before.

        What could not be captured is noted in ``state``.
        """


class CrewMaker(Protocol):
    """Makes the crew of a batch."""

    def __call__(
        self,
        batch: Sequence[Subject],
        number: int,
        starter: Starter,
        adapt: Callable[[Job], Job] = ...,
    ) -> Crew:
        """``starter`` is for workers of this machine.

        ``adapt`` changes each job as its turn comes, once; one without captures needs
        no worker.
        """


class LocalCrew:
    """The workers of a batch, one capturing at a time; the next imports meanwhile."""

    def __init__(
        self,
        batch: Sequence[Subject],
        number: int,
        starter: Starter,
        adapt: Callable[[Job], Job] = lambda job: job,
    ) -> None:
        self.batch, self.number, self.starter = batch, number, starter
        self.adapt = adapt
        self.started: dict[str, Worker | None] = {}
        self.stack = ExitStack()

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, implementation: str) -> Worker | None:
        """The implementation's worker, which may have been started already.

        None where nothing of it is to be captured.
        """
        if implementation not in self.started:
            job, job_file, log = job_of(self.batch, self.number, implementation)
            job = self.adapt(job)
            self.started[implementation] = None
            if job.captures:
                worker = Worker(job, job_file, log, self.starter, WAITING)
                self.started[implementation] = self.stack.enter_context(worker)
        return self.started[implementation]

    def capture_all(
        self, names: Sequence[str], state: RunState, watcher: Watcher
    ) -> None:
        """Captures what of ``names`` was not captured before; nothing if one broke."""
        order = list(
            dict.fromkeys(
                name for old, new in pairs_of(self.batch) for name in (ORACLE, new, old)
            )
        )
        for name in names:
            if name in state.captured or any(n in state.broken for n in names):
                continue
            later = (*order[order.index(name) + 1 :], None)[0]
            try:
                self.capture(name, later, state, watcher)
            except MmparityError as error:
                state.broken[name] = str(error)
                state.errors.append(f"{name}: {error}")
                watcher.failed(str(error))

    def capture(
        self, implementation: str, later: str | None, state: RunState, watcher: Watcher
    ) -> None:
        """Runs an implementation's worker over all cases and dtypes of the batch."""
        started = time.monotonic()

        def on_event(event: Event) -> None:
            state.clock.answered(implementation, event)
            state.heard(implementation, event)
            watcher.event(implementation, event)

        worker = self.start(implementation)
        if worker is None:
            state.captured.add(implementation)
            return
        with worker:
            if later:
                self.start(later)
            worker.finish(on_event)
        state.clock.waited(implementation, "capture")
        spent = time.monotonic() - started
        state.seconds[implementation] = state.seconds.get(implementation, 0.0) + spent
        state.captured.add(implementation)


def job_of(
    batch: Sequence[Subject], number: int, implementation: str
) -> tuple[Job, Path, Path]:
    """What an implementation's worker is to do, its job file and its log."""
    given = [item for item in batch if implementation in item.plan.trees]
    plan = given[0].plan
    job = Job(
        implementation=implementation,
        trees=plan.trees[implementation],
        python=plan.pythons.get(implementation, ""),
        checkpoint=str(Path(given[0].checkpoint).resolve()),
        captures=tuple(
            job for item in given for job in _captures(item, implementation)
        ),
        device="cpu" if implementation == ORACLE else plan.options.device,
        depth=plan.depth,
        threads=plan.options.threads,
        tp=1 if implementation == ORACLE else plan.tp,
        data_parallel=implementation != ORACLE and plan.data_parallel,
        rank_logs=str((plan.options.out / "logs" / implementation).resolve()),
    )
    name = implementation if number == 0 else f"{implementation}-{number}"
    out = plan.options.out
    return job, out / "jobs" / f"{name}.json", out / "logs" / f"{name}.log"


def _captures(item: Subject, implementation: str) -> list[CaptureJob]:
    plan = item.plan
    captures = [
        CaptureJob(
            case=plan.case_name(case),
            inputs=str(item.inputs[case.name].resolve()),
            dtype=dtype,
            out=str(plan.trace_dir(implementation, case, dtype).resolve()),
            model=plan.model or (DEFAULT_MODEL if not plan.options.checkpoint else ""),
            checkpoint=str(Path(item.checkpoint).resolve()),
            statistics=plan.repeat_capture(implementation, case, dtype)
            if plan.options.statistics
            else None,
            only=plan.options.only,
            second=case.second and implementation != ORACLE,
        )
        for case in plan.cases
        for dtype in plan.dtypes_of(implementation)
    ]
    if implementation == ORACLE:
        return captures
    counted = _smallest(captures)
    costly = next((c for c in captures if c.dtype == plan.options.costs), None)
    captures = [
        replace(item, counted=item is counted, costs=item is costly)
        for item in captures
    ]
    return captures + twins(plan, implementation, captures)


def _smallest(captures: Sequence[CaptureJob]) -> CaptureJob:
    """The capture whose forward is counted: one is enough, and this one is cheap."""
    first = min(item.dtype for item in captures)
    same = [item for item in captures if item.dtype == first]
    return min(same, key=lambda item: Path(item.inputs).stat().st_size)


def pairs_of(batch: Sequence[Subject]) -> tuple[tuple[str, str], ...]:
    """The pairs of all plans of a batch, each once."""
    return tuple(dict.fromkeys(pair for item in batch for pair in item.plan.pairs))
