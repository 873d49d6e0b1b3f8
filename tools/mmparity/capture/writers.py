# SPDX-License-Identifier: Apache-2.0
"""Traces that hold less than every tensor, and which writer makes them.

The two passes of a search: statistics of everything first, which cost little; then
the tensors of the hook points that these make suspicious.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import torch

from mmparity.capture.job import CaptureJob
from mmparity.errors import MmparityError
from mmparity.trace.manifest import LEFT_OUT
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta


def writer_of(item: CaptureJob, meta: TraceMeta) -> TraceWriter:
    """The writer of what a capture is to hold; compiled code is imported where used."""
    folder = Path(item.out)
    if item.statistics is not None:
        from mmparity.capture.statistics_writer import StatisticsWriter

        return StatisticsWriter(folder, meta, item.statistics)
    if item.only:
        return ChosenWriter(folder, meta, item.only.split(","))
    return TraceWriter(folder, meta, item.kept)


class ChosenWriter(TraceWriter):
    """Keeps the tensors of some hook points, and says that the rest was left out."""

    def __init__(self, directory: Path, meta: TraceMeta, chosen: Iterable[str]) -> None:
        super().__init__(directory, meta)
        self._missing = dict.fromkeys(chosen)
        self._chosen = frozenset(self._missing)
        self._left_out: list[str] = []

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        """Records one tensor, if it was chosen."""
        if hook_point not in self._chosen:
            self._left_out.append(hook_point)
            return
        self._missing.pop(hook_point, None)
        super().add(hook_point, tensor, path, transforms, error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._missing:
            missing = _unknown(self._missing, self._left_out)
            super().__exit__(MmparityError, missing, None)
            raise missing
        if self._left_out:
            self.unmatched(f"{len(self._left_out)} hook points", LEFT_OUT, True)
        super().__exit__(kind, error, trace)


def _unknown(missing: Iterable[str], captured: list[str]) -> MmparityError:
    names = ", ".join(missing)
    return MmparityError(
        f"--only {names}: nothing of that name was captured. Some that were: "
        f"{', '.join(captured[:6])}. All: `mmparity list hook-points --impl IMPL`."
    )
