# SPDX-License-Identifier: Apache-2.0
"""Null pairs: one implementation captured again where nothing but noise may differ.

Another number of threads, SDPA and products by other kernels, and one image packed
behind another one: what differs then at a hook point is its noise floor.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmparity.capture.job import OTHER_KERNELS, CaptureJob, Event, Job
from mmparity.capture.worker_process import WORKER, run_worker
from mmparity.compare.case import compare_traces
from mmparity.compare.result import build_result, remove_result, write_result
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.provenance import of_run, with_traces
from mmparity.run.plan import Plan
from mmparity.run.prepare import Subject, prepare
from mmparity.run.workers import job_of
from mmparity.trace import hook_points
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.trace import TraceMeta
from mmparity.workload.cases import Case, Noise
from mmparity.workload.inputs import Geometry, write_inputs

IN_FRONT = Noise((1, 8, 12), 7)
"""What a case is packed behind."""
KERNELS = "kernels"


@dataclass(frozen=True)
class _Again:
    """A capture of the plan, and where its null twins are."""

    capture: CaptureJob
    twins: dict[str, CaptureJob]
    """``threads``, ``kernels``, ``packed``."""


def measure_null_pairs(
    plan: Plan,
    implementation: str,
    on_event: Callable[[Event], None],
    starter: Starter = WORKER,
) -> ComparisonResult:
    """Captures ``implementation`` under all conditions and compares it with itself.

    The result is also written to the plan's folder, as that of a run.
    """
    started = time.monotonic()
    remove_result(plan.options.out)
    subject = prepare((plan,))[0]
    job, job_file, log = job_of([subject], 0, implementation)
    packed = _packed_inputs(subject)
    captures = [_again(capture, packed) for capture in job.captures]
    several = max(2, os.cpu_count() or 1)
    alone = [
        item
        for again in captures
        for item in (again.capture, again.twins[KERNELS], again.twins["packed"])
    ]
    threaded = [again.twins["threads"] for again in captures]
    try:
        for threads, items in ((1, alone), (several, threaded)):
            part = replace(job, captures=tuple(items), threads=threads)
            _run(part, job_file, log, threads, on_event, starter)
        cases = [pair for again in captures for pair in _pairs(again, several)]
    finally:
        shutil.rmtree(plan.options.out / "traces", ignore_errors=True)
    result = build_result(cases, with_traces(of_run(started, plan.trees), cases))
    write_result(result, plan.options.out)
    return result


def only_last_image(trace: TraceReader, alone: TraceMeta, out: Path) -> TraceReader:
    """The rows of the last image of a trace, as a trace of that image alone.

    ``alone`` says what the image's own trace is a trace of.
    """
    patches = [t * h * w for t, h, w in trace.meta.grid_thw]
    mine = sum(t * h * w for t, h, w in alone.grid_thw)
    total, first = sum(patches), sum(patches) - mine
    meta = replace(
        trace.meta,
        case=alone.case,
        grid_thw=alone.grid_thw,
        pixels_digest=alone.pixels_digest,
    )
    with TraceWriter(out, meta) as writer:
        for record in trace.records:
            name = record.hook_point
            if hook_points.is_of_model(name):
                name = _renumbered(name, len(patches) - len(alone.grid_thw))
                kept = trace.read(record.hook_point)
            else:
                kept = _rows_from(name, trace, first, total)
            if name:
                writer.add(name, kept, record.path, record.transforms, record.error)
        for item in trace.unmatched:
            writer.unmatched(item.path, item.reason, item.explained)
    return TraceReader(out)


def _renumbered(hook_point: str, before: int) -> str:
    """An item's hook point where the ``before`` first ones are left out; or empty.

    Embeddings given as input are drawn by their place, so that others stand here.
    """
    kind, _, number = hook_point.partition(".")
    if kind == hook_points.GIVEN:
        return ""
    return f"{kind}.{int(number) - before}" if int(number) >= before else ""


def _rows_from(
    hook_point: str, trace: TraceReader, first: int, total: int
) -> torch.Tensor:
    """The rows that come of the patches from ``first`` on, of ``total``."""
    tensor = trace.read(hook_point)
    if hook_point.endswith(".cu_seqlens"):
        return tensor[tensor >= first] - first
    if hook_point.endswith(".max_seqlen"):
        lengths = hook_point.replace("max_seqlen", "seqlens")
        return _rows_from(lengths, trace, first, total).amax(0, keepdim=True)
    if hook_point.endswith(".seqlens"):
        ends = tensor.long().cumsum(0)
        return tensor[ends > first]
    if not tensor.dim() or total % len(tensor):
        raise MmparityError(
            f"{hook_point} has {tuple(tensor.shape)} for {total} patches: its rows "
            "are not those of images."
        )
    start = first // (total // len(tensor))
    kept = tensor[start:]
    integer = hook_points.get(hook_point).kind == "integer"
    return kept - start if integer else kept


def _packed_inputs(subject: Subject) -> dict[str, Path]:
    """Case -> the pixels of a filler image and its own."""
    from mmparity.workload.tower_config import read_vision_config

    geometry = Geometry.of(read_vision_config(Path(subject.checkpoint)))
    folder = subject.plan.options.out / "inputs" / "packed"
    return {
        subject.plan.case_name(case): write_inputs(
            Case(case.name, "behind another image", (IN_FRONT, *case.media)),
            folder,
            geometry,
        ).resolve()
        for case in subject.plan.cases
    }


def _again(capture: CaptureJob, packed: dict[str, Path]) -> _Again:
    again = replace(capture, counted=False, costs=False)

    def beside(kind: str) -> str:
        out = Path(capture.out)
        return str(out.with_name(f"{out.name}.{kind}"))

    twins = {
        "threads": replace(again, out=beside("threads")),
        KERNELS: replace(again, out=beside(KERNELS), kernels=OTHER_KERNELS),
        "packed": replace(
            again, out=beside("packed"), inputs=str(packed[capture.case])
        ),
    }
    return _Again(capture, twins)


def _run(
    job: Job,
    job_file: Path,
    log: Path,
    threads: int,
    on_event: Callable[[Event], None],
    starter: Starter,
) -> None:
    def named(file: Path) -> Path:
        return file.with_stem(f"{file.stem}-threads{threads}")

    run_worker(job, named(job_file), named(log), on_event, starter)


def _pairs(again: _Again, threads: int) -> list[CaseComparison]:
    first = TraceReader(Path(again.capture.out))
    twins = {kind: TraceReader(Path(item.out)) for kind, item in again.twins.items()}
    slice_of = Path(again.capture.out + ".sliced")
    twins["packed"] = only_last_image(twins["packed"], first.meta, slice_of)
    about = {
        "threads": f"1 thread : {threads} threads",
        KERNELS: "SDPA and products : other kernels",
        "packed": "alone : packed behind another image",
    }
    pairs = []
    for kind, twin in twins.items():
        compared = compare_traces(first, twin, None, description=about[kind])
        pairs.append(replace(compared, id=f"{compared.id} ({kind})"))
    return pairs
