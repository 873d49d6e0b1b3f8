# SPDX-License-Identifier: Apache-2.0
"""What one forward calls on its device: dispatches, host reads, pads, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

from mmparity.types import Counts

HOST_COPIES = ("cpu", "tolist", "numpy")
"""Reads of a device tensor that are no operator where the device is the host."""
READ, PAD, CAT = "aten::_local_scalar_dense", "aten::constant_pad_nd", "aten::cat"

Forward = Callable[[], object]


def counted(forward: Forward) -> Counts:
    """The counts of one forward, which should have run before: caches are filled."""
    seen, peak_bytes = _calls(forward)
    return Counts(
        dispatches=sum(n for name, n in seen.items() if "::" in name),
        host_reads=seen[READ] + sum(seen[name] for name in HOST_COPIES),
        pads=seen[PAD],
        concatenations=seen[CAT],
        peak_bytes=peak_bytes,
    )


def _calls(forward: Forward) -> tuple[Counter[str], int]:
    """Calls by name, and the most bytes that tensors made by them held at a time.

    The profiler also sees what a custom operator calls.
    """
    with (
        _HostCopies() as copies,
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen,
    ):
        forward()
    found = Counter({e.key: e.count for e in seen.key_averages() if "::" in e.key})
    held = peak = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return found + copies.seen, peak


class _HostCopies(TorchFunctionMode):
    """Counts the methods that bring a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Counts and calls."""
        name = getattr(func, "__name__", "")
        if name in HOST_COPIES:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))
