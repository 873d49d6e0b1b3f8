# SPDX-License-Identifier: Apache-2.0
"""Feeds an encoder another trace's tensors while it is captured.

At each hook point the encoder's own tensor is recorded first and then
overwritten with the donor's, in the encoder's layout, so that whatever comes next
computes on the donor's values: a row differs only by what is computed since the
hook points before it. What cannot be overwritten is noted with the reason.
"""

from __future__ import annotations

import torch

from mmparity.capture.shards import shard
from mmparity.encoders.rules import Tap
from mmparity.trace import hook_points
from mmparity.trace.layout import HeadGeometry, LayoutError, invert, plan
from mmparity.trace.reader import TraceReader


class Graft:
    """The donor's tensors, put in place hook point by hook point.

    Used in a ``with``: tables that an encoder may keep for the next forward have
    their own values again at its end.

    Attributes:
        missed: hook point -> why the donor's tensor is not there.
    """

    def __init__(self, donor: TraceReader, rank: int = 0, ranks: int = 1) -> None:
        self.donor = donor
        self.rank, self.ranks = rank, ranks
        self.missed: dict[str, str] = {}
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._sequences: dict[str, int] = {}

    def __enter__(self) -> Graft:
        return self

    def __exit__(self, *_: object) -> None:
        with torch.inference_mode():
            for tensor, values in reversed(self._before):
                tensor.copy_(values)
        self._before.clear()

    def put(
        self, name: str, tap: Tap, value: torch.Tensor, geometry: HeadGeometry
    ) -> None:
        """Overwrites ``value``, which ``tap`` found at the hook point ``name``."""
        try:
            donated = self._layout_of(name, tap, value, geometry)
            if not self._made_by_blocks(name):
                self._before.append((value, value.clone()))
            value.copy_(donated)
        except (LayoutError, RuntimeError) as error:
            self.missed.setdefault(name, str(error).split("\n", 1)[0])

    @staticmethod
    def _made_by_blocks(name: str) -> bool:
        """Activations are made anew by each forward; tables may be kept."""
        point = hook_points.get(name)
        return point.kind == "float" and hook_points.number_of(name) is not None

    def _layout_of(
        self, name: str, tap: Tap, value: torch.Tensor, geometry: HeadGeometry
    ) -> torch.Tensor:
        if name not in self.donor:
            raise LayoutError("the other side has no such hook point")
        record = self.donor.record(name)
        if record.error:
            raise LayoutError(f"the other side's is not usable: {record.error}")
        shape = tuple(value.shape)
        steps = plan(tap.layout, shape, geometry)
        wanted = steps[-1].shape if steps else shape
        whole = shard(
            self.donor.read(name), hook_points.get(name), self.rank, self.ranks
        )
        piece = self._piece(name, tap, whole, wanted[0] if wanted else 1)
        if tuple(piece.shape) != wanted:
            raise LayoutError(
                f"shape differs: {list(wanted)} here, {list(piece.shape)} there"
            )
        return invert(piece, steps, shape)

    def _piece(
        self, name: str, tap: Tap, whole: torch.Tensor, length: int
    ) -> torch.Tensor:
        """The part of a hook point that one of several calls makes."""
        if tap.part:
            number, count = tap.part
            return whole.chunk(count, dim=tap.join)[number]
        if tap.segments:
            start = self._sequences.get(name, 0)
            self._sequences[name] = start + length
            return whole[start : start + length]
        return whole
