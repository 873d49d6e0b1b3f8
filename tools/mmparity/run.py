# SPDX-License-Identifier: Apache-2.0
"""``mmparity run``: captures every side, compares as soon as both are there.

The oracle comes first; a trace goes as soon as no later pair needs it, so that
the disk holds three implementations at most. What could not run is an error in
the result, never a missing line.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mmparity import provenance
from mmparity.cases import Case
from mmparity.inputs import Geometry, write_inputs
from mmparity.jobs import CaptureJob, Event, Job
from mmparity.launch import WORKER, run_worker
from mmparity.plan import (
    ORACLE,
    ORACLE_DTYPE,
    ROOT,
    Plan,
    needed_after,
    peak_trace_bytes,
)
from mmparity.result import FILE_NAME, build_result, write_result
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
    """What has happened so far in one run."""

    checkpoint: Path
    inputs: dict[str, Path]
    captured: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)
    cases: list[CaseComparison] = field(default_factory=list)


def execute(
    plan: Plan, watcher: Watcher, command: Sequence[str] = WORKER
) -> ComparisonResult:
    """Runs the plan and writes ``comparison.json``, also when it is interrupted."""
    started = time.monotonic()
    out = plan.options.out
    (out / FILE_NAME).unlink(missing_ok=True)
    state = prepare(plan)
    interrupted = False
    try:
        _run_pairs(plan, state, watcher, command)
    except KeyboardInterrupt:
        interrupted = True
        _fill_missing(plan, state, "the run was interrupted")
        watcher.failed("interrupted; what was compared so far is kept")
    finally:
        if not plan.options.keep_traces:
            shutil.rmtree(out / "traces", ignore_errors=True)
    if interrupted:
        state.broken["run"] = "interrupted"
    result = build_result(state.cases, _provenance(plan, state, started))
    write_result(result, out)
    return result


def prepare(plan: Plan) -> RunState:
    """Checkpoint and pixels, and whether the disk will do."""
    from mmparity.checkpoint import read_vision_config, seeded_checkpoint, with_depth

    options = plan.options
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint
    if checkpoint is None:
        checkpoint = seeded_checkpoint(ROOT / "build" / "checkpoints", depth=plan.depth)
    config = with_depth(read_vision_config(checkpoint), plan.depth)
    needed = peak_trace_bytes(plan, config.depth)
    free = shutil.disk_usage(options.out).free
    if needed > free:
        raise MmparityError(
            f"{options.out} has {free / 2**30:.1f} GiB free; the traces of this run "
            f"take up to {needed / 2**30:.1f} GiB. Give --out on another disk, fewer "
            "--case, or a smaller --depth."
        )
    geometry = Geometry.of(config)
    folder = options.out / "inputs"
    inputs = {case.name: write_inputs(case, folder, geometry) for case in plan.cases}
    return RunState(checkpoint, inputs)


def capture(
    plan: Plan,
    state: RunState,
    implementation: str,
    watcher: Watcher,
    command: Sequence[str] = WORKER,
) -> None:
    """Runs one implementation's worker over all its cases and dtypes."""
    options = plan.options
    captures = tuple(
        CaptureJob(
            case=case.name,
            inputs=str(state.inputs[case.name].resolve()),
            dtype=dtype,
            out=str(plan.trace_dir(implementation, case.name, dtype).resolve()),
        )
        for case in plan.cases
        for dtype in plan.dtypes_of(implementation)
    )
    job = Job(
        implementation=implementation,
        trees=plan.trees[implementation],
        checkpoint=str(Path(state.checkpoint).resolve()),
        captures=captures,
        device="cpu" if implementation == ORACLE else options.device,
        depth=plan.depth,
        threads=options.threads,
    )
    started = time.monotonic()

    def on_event(event: Event) -> None:
        if event.peak_memory_bytes is not None:
            peak = state.peak_memory.get(implementation, 0)
            state.peak_memory[implementation] = max(peak, event.peak_memory_bytes)
        watcher.event(implementation, event)

    job_file = options.out / "jobs" / f"{implementation}.json"
    log = options.out / "logs" / f"{implementation}.log"
    run_worker(job, job_file, log, on_event, command)
    state.seconds[implementation] = time.monotonic() - started
    state.captured.add(implementation)


def _run_pairs(
    plan: Plan, state: RunState, watcher: Watcher, command: Sequence[str]
) -> None:
    for index, (old, new) in enumerate(plan.pairs):
        for name in (ORACLE, new, old):
            if name in state.captured or name in state.broken:
                continue
            if any(other in state.broken for other in (ORACLE, old, new)):
                continue
            try:
                capture(plan, state, name, watcher, command)
            except MmparityError as error:
                state.broken[name] = str(error)
                watcher.failed(str(error))
        _compare_pair(plan, state, old, new, watcher)
        if not plan.options.keep_traces:
            unused = state.captured - needed_after(plan.pairs, index) - {ORACLE}
            for name in unused:
                shutil.rmtree(plan.options.out / "traces" / name, ignore_errors=True)


def _compare_pair(
    plan: Plan, state: RunState, old: str, new: str, watcher: Watcher
) -> None:
    for case in plan.cases:
        for dtype in plan.dtypes:
            started = time.monotonic()
            missing = [n for n in (old, new, ORACLE) if n in state.broken]
            if missing:
                first = state.broken[missing[0]].splitlines()[0]
                compared = _could_not(plan, case, dtype, (old, new), first)
            else:
                compared = _compare_case(plan, case, dtype, old, new)
            state.cases.append(compared)
            watcher.compared(compared, time.monotonic() - started)


def _compare_case(
    plan: Plan, case: Case, dtype: str, old: str, new: str
) -> CaseComparison:
    from mmparity.compare import compare_traces
    from mmparity.tracefile import TraceReader

    try:
        readers = [
            TraceReader(plan.trace_dir(name, case.name, kind))
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
    return CaseComparison(
        id=f"{case.name}/{dtype}/{old}:{new}",
        name=case.name,
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
        structure={},
        old_meta=None,
        new_meta=None,
        repeat=plan.repeat(old, new, case, dtype),
    )


def _fill_missing(plan: Plan, state: RunState, reason: str) -> None:
    done = {case.id for case in state.cases}
    for old, new in plan.pairs:
        for case in plan.cases:
            for dtype in plan.dtypes:
                missing = _could_not(plan, case, dtype, (old, new), reason)
                if missing.id not in done:
                    state.cases.append(missing)


def _provenance(plan: Plan, state: RunState, started: float) -> dict[str, Any]:
    metas = [m for case in state.cases for m in (case.old_meta, case.new_meta) if m]
    own = provenance.own_peak_memory()
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
        "sources": provenance.sources(ROOT, plan.trees),
        **provenance.of_traces(metas),
        "errors": [f"{name}: {text}" for name, text in state.broken.items()],
    }
