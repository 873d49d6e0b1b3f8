# SPDX-License-Identifier: Apache-2.0
"""Time as the device spends it: a host that hands out work has not done it yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


class Clock:
    """Measures what is done on a device.

    ``runtime`` is that device's module of torch, such as ``torch.cuda``; None is the
    host, where a call that returns is done.
    """

    def __init__(self, runtime: Any = None) -> None:
        self.runtime = runtime

    @classmethod
    def of(cls, device: str) -> Clock:
        """The clock of ``cpu``, ``cuda`` or ``npu``."""
        return cls(None if device == "cpu" else getattr(torch, device))

    def mark(self) -> Any:
        """A point in the device's work, for ``between``."""
        if self.runtime is None:
            return time.perf_counter()
        event = self.runtime.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one mark to a later one, both of which the device has passed."""
        if self.runtime is None:
            return float(end - start)
        return float(start.elapsed_time(end)) / 1000

    def settle(self) -> None:
        """Waits until the device has done all that it was given."""
        if self.runtime is not None:
            self.runtime.synchronize()

    def seconds(self, action: Callable[[], object]) -> float:
        """Wall time of an action, from an idle device to an idle device."""
        self.settle()
        started = time.perf_counter()
        action()
        self.settle()
        return time.perf_counter() - started
