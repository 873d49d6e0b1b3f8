# SPDX-License-Identifier: Apache-2.0
"""``mmparity run``: captures every side, compares as soon as both are there.

The oracle comes first; a trace goes as soon as no later pair needs it, so that
the disk holds three implementations at most. What could not run is an error in
the result, never a missing line.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from mmparity import provenance
from mmparity.cases import Case
from mmparity.inputs import pictures
from mmparity.jobs import CaptureJob, Event, Job
from mmparity.launch import WORKER, Worker
from mmparity.models import DEFAULT_MODEL
from mmparity.plan import (
    ORACLE,
    ORACLE_DTYPE,
    Options,
    Plan,
    needed_after,
)
from mmparity.regraft import Target, regraft
from mmparity.result import FILE_NAME, build_result, write_result
from mmparity.subjects import Subject, batches, input_file, prepare
from mmparity.trees import ROOT
from mmparity.types import CaseComparison, ComparisonResult, MmparityError


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


def execute(
    plans: Sequence[Plan], watcher: Watcher, command: Sequence[str] = WORKER
) -> ComparisonResult:
    """Runs the plans and writes ``comparison.json``, also when it is interrupted."""
    started = time.monotonic()
    out = plans[0].options.out
    (out / FILE_NAME).unlink(missing_ok=True)
    subjects = prepare(plans)
    state = RunState()
    try:
        for number, batch in enumerate(batches(subjects)):
            _run_batch(batch, number, state, watcher, command)
    except KeyboardInterrupt:
        _fill_missing(plans, state, "the run was interrupted")
        watcher.failed("interrupted; what was compared so far is kept")
        state.errors.append("run: interrupted")
    finally:
        if not plans[0].options.keep_traces:
            shutil.rmtree(out / "traces", ignore_errors=True)
    result = build_result(state.cases, _provenance(plans, state, started))
    write_result(result, out)
    return result


class _Workers:
    """The workers of a batch, one capturing at a time.

    At a cut depth, where importing a framework takes longer than its forwards, the
    next worker imports meanwhile, and threads that wait leave it their core. At full
    depth it would disturb the times shown.
    """

    def __init__(
        self, batch: Sequence[Subject], number: int, command: Sequence[str]
    ) -> None:
        self.batch, self.number, self.command = batch, number, command
        self.ahead = all(item.plan.depth is not None for item in batch)
        self.started: dict[str, Worker] = {}
        self.stack = ExitStack()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self, implementation: str) -> Worker:
        """The implementation's worker, which may have been started already."""
        if implementation not in self.started:
            job, job_file, log = job_of(self.batch, self.number, implementation)
            waiting = {"OMP_WAIT_POLICY": "PASSIVE"} if self.ahead else {}
            worker = Worker(job, job_file, log, self.command, waiting)
            self.started[implementation] = self.stack.enter_context(worker)
        return self.started[implementation]

    def capture(
        self, implementation: str, later: str | None, state: RunState, watcher: Watcher
    ) -> None:
        """Runs an implementation's worker over all cases and dtypes of the batch."""
        started = time.monotonic()

        def on_event(event: Event) -> None:
            if event.peak_memory_bytes is not None:
                peak = state.peak_memory.get(implementation, 0)
                state.peak_memory[implementation] = max(peak, event.peak_memory_bytes)
            watcher.event(implementation, event)

        with self.start(implementation) as worker:
            if later and self.ahead:
                self.start(later)
            worker.finish(on_event)
        spent = time.monotonic() - started
        state.seconds[implementation] = state.seconds.get(implementation, 0.0) + spent
        state.captured.add(implementation)


def capture(batch: Sequence[Subject], implementation: str, watcher: Watcher) -> None:
    """Captures one implementation, comparing nothing."""
    with _Workers(batch, 0, WORKER) as workers:
        workers.capture(implementation, None, RunState(), watcher)


def job_of(
    batch: Sequence[Subject], number: int, implementation: str
) -> tuple[Job, Path, Path]:
    """What an implementation's worker is to do, its job file and its log."""
    given = [item for item in batch if implementation in item.plan.trees]
    plan = given[0].plan
    job = Job(
        implementation=implementation,
        trees=plan.trees[implementation],
        checkpoint=str(Path(given[0].checkpoint).resolve()),
        captures=tuple(
            job for item in given for job in _captures(item, implementation)
        ),
        device="cpu" if implementation == ORACLE else plan.options.device,
        depth=plan.depth,
        threads=plan.options.threads,
        tp=1 if implementation == ORACLE else plan.tp,
        rank_logs=str((plan.options.out / "logs" / implementation).resolve()),
    )
    name = implementation if number == 0 else f"{implementation}-{number}"
    out = plan.options.out
    return job, out / "jobs" / f"{name}.json", out / "logs" / f"{name}.log"


def _captures(item: Subject, implementation: str) -> list[CaptureJob]:
    plan = item.plan
    return [
        CaptureJob(
            case=plan.case_name(case),
            inputs=str(item.inputs[case.name].resolve()),
            dtype=dtype,
            out=str(plan.trace_dir(implementation, case, dtype).resolve()),
            model=plan.model or (DEFAULT_MODEL if not plan.options.checkpoint else ""),
            checkpoint=str(Path(item.checkpoint).resolve()),
        )
        for case in plan.cases
        for dtype in plan.dtypes_of(implementation)
    ]


def _run_batch(
    batch: Sequence[Subject],
    number: int,
    state: RunState,
    watcher: Watcher,
    command: Sequence[str],
) -> None:
    state.captured, state.broken = set(), {}
    pairs = tuple(dict.fromkeys(pair for item in batch for pair in item.plan.pairs))
    order = list(
        dict.fromkeys(name for old, new in pairs for name in (ORACLE, new, old))
    )
    options = batch[0].plan.options
    with _Workers(batch, number, command) as workers:
        for index, (old, new) in enumerate(pairs):
            for name in (ORACLE, new, old):
                if name in state.captured or name in state.broken:
                    continue
                if any(other in state.broken for other in (ORACLE, old, new)):
                    continue
                later = (*order[order.index(name) + 1 :], None)[0]
                try:
                    workers.capture(name, later, state, watcher)
                except MmparityError as error:
                    state.broken[name] = str(error)
                    state.errors.append(f"{name}: {error}")
                    watcher.failed(str(error))
            compared = [
                target
                for item in batch
                if (old, new) in item.plan.pairs
                for target in _compare_pair(item.plan, state, old, new, watcher)
            ]
            job = job_of(batch, number, new)[0] if compared else None
            _graft(compared, job, state, watcher, command)
            still = needed_after(pairs, index)
            kept = still | {ORACLE} if still else still
            _drop_traces(options, state.captured - kept)


def _drop_traces(options: Options, names: set[str]) -> None:
    if not options.keep_traces:
        for name in names:
            shutil.rmtree(options.out / "traces" / name, ignore_errors=True)


def _graft(
    compared: Sequence[Target],
    job: Job | None,
    state: RunState,
    watcher: Watcher,
    command: Sequence[str],
) -> None:
    """Runs new again where --graft says so, and puts the grafted rows in the cases."""
    targets = [target for target in compared if target.wanted]
    if not targets or job is None:
        return

    def on_event(event: Event) -> None:
        if event.event in ("loading", "capturing"):  # the others count as steps
            watcher.event(f"{job.implementation}, fed with old's tensors:", event)

    try:
        grafted = regraft(targets, job, on_event, command)
    except MmparityError as error:
        message = f"no grafted rows of {job.implementation}: {error}"
        state.errors.append(message)
        watcher.failed(message)
        return
    by_id = {case.id: case for case in grafted}
    state.cases = [by_id.get(case.id, case) for case in state.cases]


def _compare_pair(
    plan: Plan, state: RunState, old: str, new: str, watcher: Watcher
) -> Iterator[Target]:
    for case in plan.cases:
        for dtype in plan.dtypes:
            started = time.monotonic()
            missing = [n for n in (old, new, ORACLE) if n in state.broken]
            if missing:
                first = state.broken[missing[0]].splitlines()[0]
                compared = _could_not(plan, case, dtype, (old, new), first)
            else:
                compared = _compare_case(plan, case, dtype, old, new)
                if compared.token_maps:
                    shown = pictures(input_file(plan, case))
                    compared = replace(compared, pictures=shown)
            state.cases.append(compared)
            watcher.compared(compared, time.monotonic() - started)
            yield Target(plan, case, dtype, compared)


def _compare_case(
    plan: Plan, case: Case, dtype: str, old: str, new: str
) -> CaseComparison:
    from mmparity.compare import compare_traces
    from mmparity.tracefile import TraceReader

    try:
        readers = [
            TraceReader(plan.trace_dir(name, case, kind))
            for name, kind in ((old, dtype), (new, dtype), (ORACLE, ORACLE_DTYPE))
        ]
        return compare_traces(
            *readers,
            description=case.description,
            repeat=plan.repeat(old, new, case, dtype),
        )
    except MmparityError as error:
        return _could_not(plan, case, dtype, (old, new), str(error))


def _could_not(
    plan: Plan, case: Case, dtype: str, pair: tuple[str, str], reason: str
) -> CaseComparison:
    old, new = pair
    name = plan.case_name(case)
    return CaseComparison(
        id=f"{name}/{dtype}/{old}:{new}",
        name=name,
        dtype=dtype,
        old=old,
        new=new,
        oracle=ORACLE,
        verdict="error",
        reason=reason,
        description=case.description,
        grid_thw=(),
        layers=(),
        unmatched=(),
        structure=(),
        old_meta=None,
        new_meta=None,
        repeat=plan.repeat(old, new, case, dtype),
    )


def _fill_missing(plans: Sequence[Plan], state: RunState, reason: str) -> None:
    done = {case.id for case in state.cases}
    for plan in plans:
        for pair in plan.pairs:
            for case in plan.cases:
                for dtype in plan.dtypes:
                    missing = _could_not(plan, case, dtype, pair, reason)
                    if missing.id not in done:
                        state.cases.append(missing)


def _provenance(
    plans: Sequence[Plan], state: RunState, started: float
) -> dict[str, Any]:
    metas = [m for case in state.cases for m in (case.old_meta, case.new_meta) if m]
    own = provenance.own_peak_memory()
    trees = {name: tree for plan in plans for name, tree in plan.trees.items()}
    peaks = {**state.peak_memory, "comparison": own}
    return {
        "created": provenance.now(),
        "command": provenance.command(),
        "seconds": round(time.monotonic() - started, 1),
        "seconds_by_implementation": {
            name: round(value, 1) for name, value in state.seconds.items()
        },
        "peak_memory_bytes": max(peaks.values()) + own,
        "peak_memory_by_process": peaks,
        "machine": provenance.machine(),
        "sources": provenance.sources(ROOT, trees),
        **provenance.of_traces(metas),
        "errors": state.errors,
    }
