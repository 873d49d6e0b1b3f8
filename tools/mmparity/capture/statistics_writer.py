# SPDX-License-Identifier: Apache-2.0
"""Writes statistics per token in place of tensors, while an encoder runs."""

from __future__ import annotations

from pathlib import Path

import torch

from mmparity.compare.metrics.sketch import PROJECTIONS, SEED, Statistician, reducible
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import Statistics, TraceMeta


class StatisticsWriter(TraceWriter):
    """Keeps statistics of tensors; what is small or integral as it is."""

    def __init__(self, directory: Path, meta: TraceMeta, command: str) -> None:
        super().__init__(directory, meta)
        self.statistics = Statistics(command, PROJECTIONS, SEED)
        self._statistician = Statistician()

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        """Records one tensor; the caller may change it afterwards."""
        kept = tensor
        if reducible(tensor):
            dtype = str(tensor.dtype).removeprefix("torch.")
            assert self.statistics is not None
            self.statistics.reduced[hook_point] = dtype, tuple(tensor.shape)
            kept = self._statistician.of(tensor)
        # A sum of squares may also be too large for float32: the tensor decides.
        if error is None and not kept.isfinite().all() and not tensor.isfinite().all():
            error = "it has values that are NaN or infinite"
        super().add(hook_point, kept, path, transforms, error)
