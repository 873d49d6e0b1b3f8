# SPDX-License-Identifier: Apache-2.0
"""Runs new once more where a case fails, fed with old's tensors.

It costs nothing where all cases pass. What could not be grafted leaves the case as
it was judged, with the reason among the run's errors.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.worker_process import run_worker
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.run.plan import Plan
from mmparity.run.workers import RunState, Watcher
from mmparity.types.comparison import CaseComparison
from mmparity.workload.cases import Case


@dataclass(frozen=True)
class GraftTarget:
    """A judged case with what its traces are found by."""

    plan: Plan
    case: Case
    dtype: str
    judged: CaseComparison

    @property
    def wanted(self) -> bool:
        """Whether it is to be run again, by --graft."""
        which, fails = self.plan.options.graft, self.judged.verdict == "fail"
        asked = which == "all" or (which == "failing" and fails)
        whole = not self.plan.data_parallel  # a rank has some of the images only
        metas = self.judged.old_meta, self.judged.new_meta
        raised = any(meta is not None and meta.raised for meta in metas)
        return asked and whole and bool(self.judged.layers) and not raised

    @property
    def old(self) -> Path:
        """The trace that feeds."""
        return self.plan.trace_dir(self.judged.old, self.case, self.dtype)

    @property
    def out(self) -> Path:
        """The trace to make."""
        names = self.judged.old, self.judged.new
        return self.plan.grafted_dir(*names, self.case, self.dtype)

    def fits(self, capture: CaptureJob) -> bool:
        """Whether a free-running capture is that of this case."""
        new = self.plan.trace_dir(self.judged.new, self.case, self.dtype)
        return Path(capture.out) == new.resolve()

    def merged(self) -> CaseComparison:
        """The case with the grafted rows."""
        from mmparity.compare.grafted import with_grafted
        from mmparity.trace.reader import TraceReader

        oracle = self.plan.oracle_trace(self.case)
        old, grafted = TraceReader(self.old), TraceReader(self.out)
        exact = TraceReader(oracle) if oracle else None
        return with_grafted(self.judged, old, grafted, exact)


def graft_again(
    compared: Sequence[GraftTarget],
    job: Job | None,
    state: RunState,
    watcher: Watcher,
    starter: Starter,
) -> None:
    """Runs new again where --graft says so, and puts the grafted rows in the cases."""
    targets = [target for target in compared if target.wanted]
    if not targets or job is None:
        return

    def on_event(event: Event) -> None:
        # The others count as steps.
        if event.event in ("loading", "capturing", "noted"):
            watcher.event(f"{job.implementation}, fed with old's tensors:", event)

    try:
        grafted = _regraft(targets, job, on_event, starter)
    except MmparityError as error:
        message = f"no grafted rows of {job.implementation}: {error}"
        state.errors.append(message)
        watcher.failed(message)
        return
    finally:
        state.clock.lap("graft")
    by_id = {case.id: case for case in grafted}
    state.cases = [by_id.get(case.id, case) for case in state.cases]


def _regraft(
    targets: Sequence[GraftTarget],
    job: Job,
    on_event: Callable[[Event], None],
    starter: Starter,
) -> list[CaseComparison]:
    """The cases of ``targets`` with grafted rows.

    ``job`` is new's job of the free-running captures. Raises MmparityError where the
    worker fails.
    """
    captures = tuple(
        replace(
            capture,
            out=str(target.out.resolve()),
            graft=str(target.old.resolve()),
            counted=False,
            costs=False,
        )
        for target in targets
        for capture in job.captures
        if target.fits(capture)
    )
    options = targets[0].plan.options
    name = f"{targets[0].judged.old}-{job.implementation}-grafted"
    logs = options.out / "logs"
    job = replace(job, captures=captures, rank_logs=str((logs / name).resolve()))
    try:
        files = options.out / "jobs" / f"{name}.json", logs / f"{name}.log"
        run_worker(job, *files, on_event, starter)
        return [target.merged() for target in targets]
    finally:
        if not options.keep_traces:
            for target in targets:
                shutil.rmtree(target.out, ignore_errors=True)
