# SPDX-License-Identifier: Apache-2.0
"""Which captures need not run: there is a whole trace of the same computation.

Every tensor of such a trace is read and checked against its digest first, for a
machine that went down may have left files that were never written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmparity.capture.job import CaptureJob, Job
from mmparity.capture.trace_meta import MODIFIED, UNVERSIONED
from mmparity.errors import MmparityError
from mmparity.trace.manifest import MANIFEST, is_whole
from mmparity.trace.reader import TraceReader
from mmparity.types.trace import TraceMeta

SAME = (
    "implementation",
    "case",
    "dtype",
    "device",
    "model",
    "depth",
    "tensor_parallel",
    "grid_thw",
    "sources",
    "versions",
    "weights_digest",
    "pixels_digest",
)
"""What must be as it would be captured now; ``versions`` holds the harness's own."""


def without_finished(
    job: Job, meta_of: Callable[[CaptureJob], TraceMeta]
) -> tuple[Job, tuple[CaptureJob, ...]]:
    """The job without the captures that are done, and those.

    ``meta_of`` gives what a capture would say of itself now.
    """
    done = tuple(item for item in job.captures if _is_done(item, meta_of))
    left = tuple(item for item in job.captures if item not in done)
    return replace(job, captures=left), done


def _is_done(item: CaptureJob, meta_of: Callable[[CaptureJob], TraceMeta]) -> bool:
    if item.partial or not (Path(item.out) / MANIFEST).exists():
        return False
    meta = meta_of(item)
    return unknowable(meta) is None and why_not(item, meta) is None


def unknowable(meta: TraceMeta) -> str | None:
    """Why it cannot be said what a capture would run; None where it can."""
    for name, tree in meta.sources.items():
        if tree.endswith(MODIFIED):
            return f"{name} has changes that are not committed"
        if tree.endswith(UNVERSIONED):
            return f"{name} is no git repository"
    return None


def why_not(item: CaptureJob, meta: TraceMeta) -> str | None:
    """Why the trace where a capture goes is not what it would make; else None."""
    try:
        trace = TraceReader(Path(item.out))
        if trace.meta.raised:
            return "its encoder raised an error"
        reason = first_difference(same_fields(trace.meta), same_fields(meta))
        if reason or not is_whole(other.reason for other in trace.unmatched):
            return f"other {reason}" if reason else "it leaves hook points out"
        for record in trace.records:
            trace.read(record.hook_point)
        if item.counted and trace.meta.counts is None:
            return "its calls were not counted"
        return None
    except MmparityError as error:
        return f"damaged: {error}"


def same_fields(meta: TraceMeta) -> dict[str, object]:
    """What makes it the same computation."""
    return {name: getattr(meta, name) for name in SAME}


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """The name of the first field that differs, and what in it; None for none."""
    for name, value in here.items():
        other = there.get(name)
        if other == value:
            continue
        if not (isinstance(value, dict) and isinstance(other, dict)):
            return name
        keys = [key for key in {**value, **other} if value.get(key) != other.get(key)]
        return f"{name}: {', '.join(keys)}"
    return None
