# SPDX-License-Identifier: Apache-2.0
"""Hook points on their way to a sink: each once, and whole if it comes in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mmparity.trace.sink import Sink


@dataclass(frozen=True)
class Recorded:
    """A tensor of a hook point, or a piece of it, in the canonical layout.

    Attributes:
        name: of the hook point.
        path: of the module or operator that made it.
        transforms: to the canonical layout.
        error: why it has no canonical layout, if it has none.
    """

    name: str
    tensor: torch.Tensor
    path: str
    transforms: tuple[str, ...] = ()
    error: str | None = None


@dataclass
class _Pieces:
    """The pieces so far of a hook point, which go side by side along ``dim``."""

    dim: int
    fitting: list[Recorded] = field(default_factory=list)
    count: int = 0
    error: str | None = None

    def add(self, piece: Recorded) -> None:
        """Takes a copy of a piece, for the next call may change it."""
        self.count += 1
        tensor = piece.tensor
        first = self.fitting[0].tensor if self.fitting else tensor
        if _around(tensor, self.dim) == _around(first, self.dim):
            copy = tensor.detach().clone()
            self.fitting.append(replace(piece, tensor=copy))
        elif self.error is None:
            shape = list(tensor.shape)
            self.error = f"a piece {shape} does not fit its neighbours"
        self.error = self.error or piece.error

    def whole(self, how: str) -> Recorded:
        tensor = torch.cat([piece.tensor for piece in self.fitting], dim=self.dim)
        transforms = (*self.fitting[-1].transforms, how)
        first, error = self.fitting[0], self.error
        return replace(first, tensor=tensor, transforms=transforms, error=error)


class WholeTensors:
    """Gives a sink its hook points, and what is not one with the reason, once each."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.names: set[str] = set()
        """Of the hook points that the sink has."""
        self._noted: set[str] = set()
        self._in_pieces: dict[str, _Pieces] = {}

    def note(self, path: str, reason: str, explained: bool) -> None:
        """Says of a place why it is no hook point."""
        if path not in self._noted:
            self._noted.add(path)
            self.sink.unmatched(path, reason, explained=explained)

    def add(self, recorded: Recorded) -> None:
        """Gives a tensor that is whole as it is."""
        self.flush()
        self._give(recorded)

    def add_part(self, part: Recorded, dim: int, count: int) -> None:
        """Takes one of ``count`` parts, which go side by side along ``dim``."""
        pieces = self._take(part, dim)
        if pieces.count == count:
            del self._in_pieces[part.name]
            self.flush()
            self._give(pieces.whole("joined"))

    def add_sequence(self, sequence: Recorded) -> None:
        """Takes one of as many sequences as come before another hook point does."""
        self._take(sequence, 0)

    def flush(self) -> None:
        """Gives the sequences taken so far; the next tensor comes after them."""
        in_pieces, self._in_pieces = self._in_pieces, {}
        for pieces in in_pieces.values():
            self._give(pieces.whole("sequences_joined"))

    def _take(self, piece: Recorded, dim: int) -> _Pieces:
        pieces = self._in_pieces.setdefault(piece.name, _Pieces(dim))
        pieces.add(piece)
        return pieces

    def _give(self, recorded: Recorded) -> None:
        name, path = recorded.name, recorded.path
        if name in self.names:
            self.note(f"{name} again", f"made a second time at {path}", False)
            return
        self.names.add(name)
        self.sink.add(
            name,
            recorded.tensor,
            path or "(encoder)",
            recorded.transforms,
            recorded.error,
        )


def _around(piece: torch.Tensor, dim: int) -> tuple[Any, ...]:
    """What pieces that are put side by side along a dimension have in common."""
    shape = list(piece.shape)
    del shape[dim]
    return shape, piece.dtype, piece.device
