# SPDX-License-Identifier: Apache-2.0
"""Which captures of an interrupted job are done: whole traces of the same computation.

Every tensor of such a trace is read and checked against its digest first, for a
machine that went down may have left files that were never written out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mmparity.inputs import read_inputs
from mmparity.jobs import CaptureJob, Job
from mmparity.manifest import MANIFEST
from mmparity.measured import check_measured
from mmparity.partial_traces import is_whole
from mmparity.tracefile import TraceReader
from mmparity.types import MmparityError, TraceMeta

SAME = (
    "implementation",
    "case",
    "dtype",
    "device",
    "weights_digest",
    "pixels_digest",
    "grid_thw",
    "depth",
    "sources",
    "versions",
    "model",
    "tensor_parallel",
)
"""What must be as it would be captured now; ``versions`` holds the harness's own."""
UNKNOWABLE = ("-modified", "unversioned")
"""Ends of tree ids that do not say what is in the tree."""


def without_finished(
    job: Job, meta_of: Callable[[CaptureJob], TraceMeta]
) -> tuple[Job, tuple[CaptureJob, ...]]:
    """The job without the captures that are done, and those.

    ``meta_of`` gives what a capture's checkpoint, trees and versions are now.
    """
    done = tuple(item for item in job.captures if _is_done(item, meta_of))
    left = tuple(item for item in job.captures if item not in done)
    return replace(job, captures=left), done


def _is_done(item: CaptureJob, meta_of: Callable[[CaptureJob], TraceMeta]) -> bool:
    partial = item.graft or item.only or item.statistics is not None
    if partial or not (Path(item.out) / MANIFEST).exists():
        return False
    inputs = read_inputs(Path(item.inputs))
    meta = replace(
        meta_of(item),
        case=item.case,
        dtype=item.dtype,
        model=item.model,
        pixels_digest=inputs.pixels_digest,
        grid_thw=inputs.grid_thw,
    )
    if any(tree.endswith(UNKNOWABLE) for tree in meta.sources.values()):
        return False
    try:
        trace = TraceReader(Path(item.out))
        if not is_whole(other.reason for other in trace.unmatched):
            return False
        if any(getattr(trace.meta, name) != getattr(meta, name) for name in SAME):
            return False
        for record in trace.records:
            if record.hook_point not in trace.measured:
                trace.read(record.hook_point)
        return _fits(item, trace)
    except MmparityError:
        return False  # broken or of another version: captured again


def _fits(item: CaptureJob, trace: TraceReader) -> bool:
    """Whether what it has no tensors of was measured against what is asked for."""
    if item.against is None:
        return not trace.measured
    exact = TraceReader(Path(item.oracle)) if item.oracle else None
    check_measured(TraceReader(Path(item.against)), trace, exact)
    return True
