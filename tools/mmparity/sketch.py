# SPDX-License-Identifier: Apache-2.0
"""A tensor's statistics per token, in one pass over its memory.

For each row of the first dimension: norm, minimum, maximum, and its products with a
few fixed random vectors. Such a sketch is linear: the sketch of new minus that of old
is the sketch of their difference, whose size is an estimate of the difference's.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch

PROJECTIONS = 8
SEED = 2026
COLUMNS = 3 + PROJECTIONS
"""Norm, minimum, maximum, and the sketch."""
MISS = 3.06
"""The true size is above so many times the estimated one in one case of 1000: the
squares' ratio has the chi-square distribution of as many degrees of freedom as there
are projections, whatever the difference, because the vectors are normal."""
_SPLIT = 1 << 16
"""Elements from which on a second thread takes half of the rows."""


def reducible(tensor: torch.Tensor) -> bool:
    """Whether statistics of it say less, in less room, than the tensor."""
    if not tensor.is_floating_point() or tensor.dim() < 2 or not tensor.numel():
        return False
    return tensor.numel() // len(tensor) > COLUMNS


class Statistician:
    """Makes statistics, with a second thread for large tensors."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="statistics")

    def close(self) -> None:
        """Ends the second thread."""
        self._pool.shutdown()

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """float32 [tokens, COLUMNS]; the tensor is free to change afterwards."""
        values, stride = _rows(tensor)
        width = tensor.numel() // len(tensor)
        out = np.empty((len(tensor), COLUMNS), np.float32)
        given = values, stride, width, out
        half = len(out) // 2 if tensor.numel() >= _SPLIT else 0
        rest = self._pool.submit(_reduce, *given, 0, half) if half else None
        _reduce(*given, half, len(out))
        if rest is not None:
            rest.result()
        return torch.from_numpy(out)


@lru_cache(maxsize=32)
def projections(width: int, kind: str) -> np.ndarray:
    """Normal vectors, [PROJECTIONS, width]: the same for every tensor of this width.

    numpy keeps what its RandomState draws the same in every version.
    """
    drawn = np.random.RandomState([SEED, width]).standard_normal((PROJECTIONS, width))
    return drawn.astype(np.float32).astype(kind)


def _rows(tensor: torch.Tensor) -> tuple[np.ndarray, int]:
    """The memory from the first element on, and the step between rows.

    bfloat16 as its bits; a copy only where a row is not in one piece.
    """
    tensor = tensor.detach()
    if tensor.device.type != "cpu" or tensor.dtype not in _IN_PLACE:
        tensor = tensor.cpu().float()
    rows = tensor.flatten(1)
    if rows.stride(1) != 1 or rows.stride(0) < 0:
        rows = rows.contiguous()
    step = rows.stride(0) if len(rows) > 1 else rows.shape[1]
    length = (len(rows) - 1) * step + rows.shape[1]
    flat = rows.as_strided((length,), (1,))
    if flat.dtype == torch.bfloat16:
        flat = flat.view(torch.int16)
    return flat.numpy(), step


_IN_PLACE = (torch.bfloat16, torch.float32, torch.float64)


def _reduce(
    values: np.ndarray,
    step: int,
    width: int,
    out: np.ndarray,
    start: int,
    stop: int,
) -> None:
    if values.dtype == np.int16:
        _of_bfloat16(values, step, projections(width, "f4"), out, start, stop)
    else:
        _of_wide(values, step, projections(width, "f8"), out, start, stop)


_FAST = {"reassoc", "contract", "nsz"}
"""Sums in any order; NaN and infinity stay what they are."""
_ROWS = 4
_TILE = 1024
"""Columns: so much of four rows and of two vectors stays in the first cache."""
_compiled: Any = numba.njit(nogil=True, cache=True, fastmath=_FAST)


def _kernel(*kinds: str) -> Any:
    """Compiles for these dtypes at import, or takes it from the cache."""
    vectors = "float32" if kinds == ("int16",) else "float64"
    return numba.njit(
        [
            f"void({kind}[::1], int64, {vectors}[:,::1], float32[:,::1], int64, int64)"
            for kind in kinds
        ],
        nogil=True,
        cache=True,
        fastmath=_FAST,
    )


@_compiled
def _ordered(bits):  # type: ignore
    """The bits of a float32 as an integer of the same order, and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@_compiled
def _widen(bits, row, ends):  # type: ignore
    least, most = ends[0], ends[1]
    for i in range(len(bits)):
        value = np.int32(bits[i]) << np.int32(16)
        row[i] = value
        ordered = np.int32(_ordered(value))
        least = min(least, ordered)
        most = max(most, ordered)
    ends[0], ends[1] = least, most


@_compiled
def _copy(values, row, ends):  # type: ignore
    least, most = ends[0], ends[1]
    for i in range(len(values)):
        value = np.float64(values[i])
        row[i] = value
        least = value if value < least else least
        most = value if value > most else most
    ends[0], ends[1] = least, most


@_compiled
def _squares(rows, size, sums):  # type: ignore
    for r in range(_ROWS):
        row, total = rows[r], sums[r, 0]
        for i in range(size):
            total += row[i] * row[i]
        sums[r, 0] = total


@_compiled
def _products(rows, vectors, left, size, sums):  # type: ignore
    """Adds the products with two vectors at a time: a load serves several sums."""
    x0, x1, x2, x3 = rows[0], rows[1], rows[2], rows[3]
    for k in range(0, PROJECTIONS, 2):
        v, w = vectors[k, left : left + size], vectors[k + 1, left : left + size]
        a0, b0, c0, d0 = sums[0, k + 1], sums[1, k + 1], sums[2, k + 1], sums[3, k + 1]
        a1, b1, c1, d1 = sums[0, k + 2], sums[1, k + 2], sums[2, k + 2], sums[3, k + 2]
        for i in range(size):
            y, z = v[i], w[i]
            a0 += x0[i] * y
            b0 += x1[i] * y
            c0 += x2[i] * y
            d0 += x3[i] * y
            a1 += x0[i] * z
            b1 += x1[i] * z
            c1 += x2[i] * z
            d1 += x3[i] * z
        sums[0, k + 1], sums[1, k + 1], sums[2, k + 1], sums[3, k + 1] = a0, b0, c0, d0
        sums[0, k + 2], sums[1, k + 2], sums[2, k + 2], sums[3, k + 2] = a1, b1, c1, d1


@_compiled
def _write(out, sums, ends):  # type: ignore
    out[0] = math.sqrt(sums[0])
    out[1], out[2] = ends[0], ends[1]
    out[3:] = sums[1:]


@_kernel("int16")
def _of_bfloat16(bits, step, vectors, out, start, stop):  # type: ignore
    """Sums in float32; least and greatest by the bits, whose order is the values'."""
    width = vectors.shape[1]
    row_bits = np.empty((_ROWS, _TILE), np.int32)
    rows = row_bits.view(np.float32)
    sums = np.empty((_ROWS, 1 + PROJECTIONS), np.float32)
    ends = np.empty((_ROWS, 2), np.int32)
    for first in range(start, stop, _ROWS):
        sums[:] = 0
        ends[:, 0], ends[:, 1] = 2**31 - 1, -(2**31)
        for left in range(0, width, _TILE):
            size = min(_TILE, width - left)
            for r in range(_ROWS):
                place = min(first + r, stop - 1) * step + left
                _widen(bits[place : place + size], row_bits[r], ends[r])
            _squares(rows, size, sums)
            _products(rows, vectors, left, size, sums)
        for r in range(min(_ROWS, stop - first)):
            ends[r, 0], ends[r, 1] = _ordered(ends[r, 0]), _ordered(ends[r, 1])
            _write(out[first + r], sums[r], ends[r].view(np.float32))


@_kernel("float32", "float64")
def _of_wide(values, step, vectors, out, start, stop):  # type: ignore
    """float32 and float64: sums in float64."""
    width = vectors.shape[1]
    rows = np.empty((_ROWS, _TILE), np.float64)
    sums = np.empty((_ROWS, 1 + PROJECTIONS), np.float64)
    ends = np.empty((_ROWS, 2), np.float64)
    for first in range(start, stop, _ROWS):
        sums[:] = 0
        ends[:, 0], ends[:, 1] = np.inf, -np.inf
        for left in range(0, width, _TILE):
            size = min(_TILE, width - left)
            for r in range(_ROWS):
                place = min(first + r, stop - 1) * step + left
                _copy(values[place : place + size], rows[r], ends[r])
            _squares(rows, size, sums)
            _products(rows, vectors, left, size, sums)
        for r in range(min(_ROWS, stop - first)):
            _write(out[first + r], sums[r], ends[r])
