# SPDX-License-Identifier: Apache-2.0
"""The pieces of a hook point that several calls make -> one tensor."""

from __future__ import annotations

import numpy as np
import torch

SMALL = 1 << 20
"""Elements."""
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Joined:
    """Memory in which pieces are put side by side along a dimension; used again.

    A piece is copied, for the next call may change it.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.memory: torch.Tensor | None = None
        self.length = 0

    def append(self, piece: torch.Tensor, expected: int) -> str | None:
        """Takes one of the ``expected`` pieces; why it does not fit, or None."""
        piece = piece.detach()
        size, memory = piece.shape[self.dim], self.memory
        if memory is None or not _alike(memory, piece, self.dim):
            if self.length:
                return f"a piece {list(piece.shape)} does not fit its neighbours"
            memory = self._room(piece, size * expected)
        elif self.length + size > memory.shape[self.dim]:
            larger = self._room(piece, 2 * (self.length + size))
            larger.narrow(self.dim, 0, self.length).copy_(self.whole())
            memory = larger
        _copy(piece, memory.narrow(self.dim, self.length, size))
        self.memory = memory
        self.length += size
        return None

    def whole(self) -> torch.Tensor:
        """The pieces so far, until ``clear``."""
        assert self.memory is not None
        return self.memory.narrow(self.dim, 0, self.length)

    def clear(self) -> None:
        """Makes room for the pieces of the next call."""
        self.length = 0

    def _room(self, piece: torch.Tensor, size: int) -> torch.Tensor:
        shape = list(piece.shape)
        shape[self.dim] = size
        return piece.new_empty(shape)


def _copy(piece: torch.Tensor, room: torch.Tensor) -> None:
    """By one thread where it is small: torch's take far longer to meet than to copy."""
    if piece.device.type != "cpu" or piece.numel() > SMALL:
        room.copy_(piece)
        return
    kind = _BITS[piece.element_size()]
    np.copyto(room.view(kind).numpy(), piece.view(kind).numpy())


def _alike(memory: torch.Tensor, piece: torch.Tensor, dim: int) -> bool:
    """Whether they differ in nothing but the size of one dimension."""
    if memory.dim() != piece.dim() or memory.dtype != piece.dtype:
        return False
    shapes = [list(tensor.shape) for tensor in (memory, piece)]
    for shape in shapes:
        del shape[dim]
    return shapes[0] == shapes[1] and memory.device == piece.device
