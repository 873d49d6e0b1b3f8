# SPDX-License-Identifier: Apache-2.0
"""What one forward calls on its device: dispatches, host reads, pads, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from mmparity.encoders.host_reads import HostReads
from mmparity.encoders.npu_emulation.schemas import RELEASES
from mmparity.types.trace import Counts

READ, PAD, CAT = "aten::_local_scalar_dense", "aten::constant_pad_nd", "aten::cat"

_EMULATED = {name for schemas in RELEASES.values() for name in schemas}

Forward = Callable[[], object]


def counted(forward: Forward) -> Counts:
    """The counts of one forward, which should have run before: caches are filled."""
    reads = HostReads()
    with reads.counting():
        seen, peak_bytes = _calls(forward)
    return Counts(
        dispatches=sum(n for name, n in seen.items() if "::" in name),
        host_reads=seen[READ] - reads.spared + reads.copies,
        pads=seen[PAD],
        concatenations=seen[CAT],
        peak_bytes=peak_bytes,
    )


def _calls(forward: Forward) -> tuple[Counter[str], int]:
    """Calls by name, and the most bytes that tensors made by them held at a time.

    The profiler also sees what a custom operator calls. What an emulated one calls
    is not the encoder's: on an NPU it is one kernel.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        forward()
    found: Counter[str] = Counter()
    held = peak = emulated_until = 0
    for event in _in_time(seen.profiler.kineto_results.events()):
        is_inside = event.start_ns() < emulated_until
        if not is_inside:
            peak = max(peak, held)
        if event.name() == "[memory]":
            held += event.nbytes()
        elif not is_inside:
            found[event.name()] += 1
            if event.name() in _EMULATED:
                emulated_until = event.end_ns()
    return found, max(peak, held)


def _in_time(events: Iterable[Any]) -> list[Any]:
    """In order of their start, a call before what it calls."""
    return sorted(events, key=lambda event: (event.start_ns(), -event.duration_ns()))
