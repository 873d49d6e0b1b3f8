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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity import provenance
from mmparity.capture.job import Job
from mmparity.capture.worker_process import WORKER
from mmparity.compare.result import (
    build_result,
    remove_result,
    with_engine_beside,
    write_result,
)
from mmparity.compare.since import LastRun, last_run, since
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.report import PAGES, render_timed, write_texts
from mmparity.run.code_of_run import with_code
from mmparity.run.graft_run import GraftTarget, graft_again
from mmparity.run.judging import compare_case, could_not
from mmparity.run.plan import ORACLE, Options, Plan, needed_after
from mmparity.run.prepare import Subject, batches, input_file, prepare
from mmparity.run.workers import (
    Crew,
    CrewMaker,
    LocalCrew,
    RunState,
    Watcher,
    job_of,
    pairs_of,
)
from mmparity.types.comparison import ComparisonResult
from mmparity.types.provenance import Provenance
from mmparity.types.row import Noise
from mmparity.workload.pictures import pictures

if TYPE_CHECKING:
    from mmparity.run.cached_workers import TraceCache

INTERRUPTED = "run: interrupted"
"""Among the errors of a result that Ctrl-C cut short."""


def execute(
    plans: Sequence[Plan],
    watcher: Watcher,
    starter: Starter = WORKER,
    *,
    crew: CrewMaker = LocalCrew,
) -> ComparisonResult:
    """Runs the plans and writes ``comparison.json``, also when it is interrupted.

    ``crew`` makes the workers of a batch.
    """
    started, out = time.monotonic(), plans[0].options.out
    last = _make_room(plans[0].options)
    cache = _open_cache(plans[0].options)
    crew = cache.around(crew) if cache else crew
    state = RunState()
    subjects = prepare(plans)
    _load_comparison(plans)
    state.clock.lap("prepare")
    try:
        for number, batch in enumerate(batches(subjects)):
            with crew(batch, number, starter) as workers:
                _run_batch(batch, number, state, watcher, starter, workers)
    except KeyboardInterrupt:
        _fill_missing(plans, state, "the run was interrupted")
        watcher.failed("interrupted; what was compared so far is kept")
        state.errors.append(INTERRUPTED)
    finally:
        if not plans[0].options.keep_traces:
            shutil.rmtree(out / "traces", ignore_errors=True)
    result = build_result(state.cases, _provenance(plans, state, started))
    result = replace(result, reuse=cache.reuse() if cache else None)
    result = replace(result, since=since(last, result))
    result = with_code(_with_engine(result, out, watcher), plans)
    state.clock.lap("report")
    result = replace(result, stages=state.clock.stages())
    write_result(result, out)
    return result


def _make_room(options: Options) -> LastRun | None:
    """Removes what the run before left; returns what is kept of it."""
    last = last_run(options.out)
    remove_result(options.out)
    if not options.keep_traces:  # of a killed run, where the disk may be full
        shutil.rmtree(options.out / "traces", ignore_errors=True)
    return last


def _with_engine(
    result: ComparisonResult, out: Path, watcher: Watcher
) -> ComparisonResult:
    try:
        return with_engine_beside(result, out)
    except MmparityError as error:
        watcher.failed(str(error))
        return result


def with_pages(result: ComparisonResult, out: Path) -> tuple[ComparisonResult, Path]:
    """Writes its pages, and the result anew, which then says how long they took.

    Returns:
        The result, and the path of its page for a browser.
    """
    started = time.monotonic()

    def timed() -> ComparisonResult:
        assert result.stages is not None
        seconds = {**result.stages.seconds}
        spent = seconds.get("report", 0.0) + time.monotonic() - started
        seconds["report"] = round(spent, 2)
        return replace(result, stages=replace(result.stages, seconds=seconds))

    done, texts = render_timed(result, PAGES, timed)
    write_result(done, out)
    return done, write_texts(texts, out)["html"]


def _load_comparison(plans: Sequence[Plan]) -> None:
    """While the workers' packages are imported, this process has nothing else to do."""
    from mmparity.compare.case import load

    load(dict.fromkeys(dtype for plan in plans for dtype in plan.dtypes))


def _open_cache(options: Options) -> TraceCache | None:
    if options.cache is None:
        return None
    from mmparity.run.cached_workers import TraceCache

    return TraceCache(options)


def capture(
    batch: Sequence[Subject],
    implementation: str,
    watcher: Watcher,
    starter: Starter = WORKER,
    *,
    again: bool,
) -> None:
    """Captures one implementation; what an interrupted capture has done is kept."""

    def adapt(job: Job) -> Job:
        kept = tuple(replace(item, kept=True) for item in job.captures)
        return replace(job, resume=not again, captures=kept)

    state = RunState()
    with LocalCrew(batch, 0, starter, adapt) as workers:
        workers.capture(implementation, None, state, watcher)
    if state.raised:
        raise MmparityError("\n".join(state.raised))


def _run_batch(
    batch: Sequence[Subject],
    number: int,
    state: RunState,
    watcher: Watcher,
    starter: Starter,
    workers: Crew,
) -> None:
    state.captured, state.broken, state.broken_cases = set(), {}, {}
    pairs = pairs_of(batch)
    for index, (old, new) in enumerate(pairs):
        oracle = [name for item in batch for name in item.plan.oracle]
        workers.capture_all((*oracle[:1], new, old), state, watcher)
        compared = [
            target
            for item in batch
            if (old, new) in item.plan.pairs
            for target in _compare_pair(item.plan, state, old, new, watcher)
        ]
        job = job_of(batch, number, new)[0] if compared else None
        graft_again(compared, job, state, watcher, starter)
        still = needed_after(pairs, index)
        kept = still | {ORACLE} if still else still
        _drop_traces(batch[0].plan.options, state.captured - kept)


def _drop_traces(options: Options, names: set[str]) -> None:
    if not options.keep_traces:
        for name in names:
            shutil.rmtree(options.out / "traces" / name, ignore_errors=True)


def _compare_pair(
    plan: Plan, state: RunState, old: str, new: str, watcher: Watcher
) -> Iterator[GraftTarget]:
    noise: dict[str, dict[str, Noise]] = {}
    for case in plan.cases:
        for dtype in plan.dtypes:
            started = time.monotonic()
            name = plan.case_name(case)
            taking_part = (old, new, *plan.oracle)
            reasons = [state.why_broken(n, name) for n in taking_part]
            missing = [reason for reason in reasons if reason]
            if missing:
                first = missing[0].splitlines()[0]
                compared = could_not(plan, case, dtype, (old, new), first)
            else:
                compared = compare_case(plan, case, dtype, (old, new), noise)
                if compared.token_maps:
                    shown = pictures(input_file(plan, case))
                    compared = replace(compared, pictures=shown)
            state.cases.append(compared)
            state.clock.lap("compare")
            watcher.compared(compared, time.monotonic() - started)
            yield GraftTarget(plan, case, dtype, compared)


def _fill_missing(plans: Sequence[Plan], state: RunState, reason: str) -> None:
    done = {case.id for case in state.cases}
    for plan in plans:
        for pair in plan.pairs:
            for case in plan.cases:
                for dtype in plan.dtypes:
                    missing = could_not(plan, case, dtype, pair, reason)
                    if missing.id not in done:
                        state.cases.append(missing)


def _provenance(plans: Sequence[Plan], state: RunState, started: float) -> Provenance:
    trees = {name: tree for plan in plans for name, tree in plan.trees.items()}
    of = provenance.with_traces(provenance.of_run(started, trees), state.cases)
    own = provenance.own_peak_memory()
    peaks = {**state.peak_memory, "comparison": own}
    return replace(
        of,
        seconds_by_implementation={
            name: round(value, 1) for name, value in state.seconds.items()
        },
        peak_memory_bytes=max(peaks.values()) + own,
        peak_memory_by_process=peaks,
        errors=tuple(state.errors),
        left_out=tuple(text for plan in plans for text in plan.left_out),
    )
