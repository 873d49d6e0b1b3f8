# SPDX-License-Identifier: Apache-2.0
"""Sums and maxima over tensors, compiled: each reads its tensors once.

Everything is float64. Sums are of one row, in as many parts as the machine's vectors
have lanes: the number of threads changes no digit, another machine the last ones. The
threads may be Python's: the compiled code runs without the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numba.extending import overload

Array = Any
"""A C-contiguous array [T, D]: float32, float64, or uint16 for bfloat16's bits."""
_T = TypeVar("_T")
NATIVE = {torch.bfloat16, torch.float32, torch.float64}
SPLIT_NUMEL = 1 << 15
"""Smaller tensors are not worth a second thread."""


@dataclass(frozen=True)
class Difference:
    """What new and old have against each other; arrays have one value per token."""

    new_squares_T: Array
    products_T: Array
    squares_T: Array
    sizes_T: Array
    """Sums of |new - old|."""
    worst: float
    place: int
    """Of the worst element, in the flattened tensor."""
    element: float
    """Largest |new - old| over (|old| + rms)."""
    excess: float
    """Largest |new - old| - rtol * |old|, or 0."""


def arrays(*tensors: torch.Tensor | None) -> list[Array]:
    """The tensors as arrays of rows, of dtypes that the compiled code has.

    Old and new come out in one dtype. Whatever is changed on the way is widened, so
    that no value changes. None stays None.
    """
    rows = [None if one is None else _rows(one) for one in tensors]
    dtypes = {row.dtype for row in rows[:2] if row is not None}
    native = len(dtypes) == 1 and dtypes <= NATIVE
    oracle = rows[2].dtype if len(rows) > 2 and rows[2] is not None else torch.float32
    wanted = torch.float64 if torch.float64 in dtypes else torch.float32
    if not native or oracle != wanted:
        rows = [None if row is None else row.double() for row in rows]
    return [None if row is None else _array(row) for row in rows]


def squares(x_TD: Array, threads: Executor | None = None) -> tuple[Array, float]:
    """Sum of squares of each token, and the largest size of an element."""
    squares_T = np.empty(len(x_TD))
    largest = _in_parts(x_TD, threads, lambda a, b: _squares(x_TD, a, b, squares_T))
    return squares_T, max(largest)


def difference(
    old_TD: Array, new_TD: Array, rms: float, rtol: float, threads: Executor | None
) -> Difference:
    """New against old, where ``rms`` is old's root mean square."""
    nn, on, dd, sizes = (np.empty(len(old_TD)) for _ in range(4))
    parts = _in_parts(
        old_TD,
        threads,
        lambda a, b: _pair(old_TD, new_TD, a, b, rms, rtol, nn, on, dd, sizes),
    )
    worst, place = max((part[:2] for part in parts), key=lambda part: part[0])
    element, excess = (max(part[i] for part in parts) for i in (2, 3))
    return Difference(nn, on, dd, sizes, worst, place, element, excess)


def distance(
    x_TD: Array, reference_TD: Array, threads: Executor | None = None
) -> tuple[Array, float]:
    """Of x - reference: each token's sum of squares, and the largest size."""
    squares_T = np.empty(len(x_TD))
    largest = _in_parts(
        x_TD, threads, lambda a, b: _distance(x_TD, reference_TD, a, b, squares_T)
    )
    return squares_T, max(largest)


def _in_parts(
    x_TD: Array, threads: Executor | None, part: Callable[[int, int], _T]
) -> list[_T]:
    """``part(start, stop)`` of all rows; of two halves, where there are threads."""
    rows = len(x_TD)
    if threads is None or rows < 2 or x_TD.size < SPLIT_NUMEL:
        return [part(0, rows)]
    later = threads.submit(part, rows // 2, rows)
    return [part(0, rows // 2), later.result()]


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.float16:
        tensor = tensor.float()
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    return tensor.reshape(rows, -1).contiguous()


def _array(rows_TD: torch.Tensor) -> Array:
    bits = rows_TD.dtype == torch.bfloat16
    return (rows_TD.view(torch.uint16) if bits else rows_TD).numpy()


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept beside the module or in the user's cache if one can write."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract"},  # NaN and infinity stay what they are
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no such place
        return numba.njit(**options)(function)


def _wide(value: Any) -> float:
    """An element as float64."""
    raise NotImplementedError  # compiled code has one for each dtype


@overload(_wide, inline="always", strict=False)  # type: ignore[misc]
def _wide_of(value: Any) -> Callable[[Any], Any]:
    if isinstance(value, numba.types.Integer):  # bfloat16: float32's upper half

        def of_bits(value: Any) -> Any:
            return np.float64(
                np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
            )

        return of_bits
    return lambda value: np.float64(value)


@_compiled
def _squares(x_TD: Array, start: int, stop: int, squares_T: Array) -> float:
    largest = 0.0
    for row in range(start, stop):
        total = 0.0
        for i in range(x_TD.shape[1]):
            x = _wide(x_TD[row, i])
            total += x * x
            size = abs(x)
            if size > largest:
                largest = size
        squares_T[row] = total
    return largest


@_compiled
def _distance(
    x_TD: Array, reference_TD: Array, start: int, stop: int, squares_T: Array
) -> float:
    largest = 0.0
    for row in range(start, stop):
        total = 0.0
        for i in range(x_TD.shape[1]):
            apart = _wide(x_TD[row, i]) - _wide(reference_TD[row, i])
            total += apart * apart
            size = abs(apart)
            if size > largest:
                largest = size
        squares_T[row] = total
    return largest


@_compiled
def _largest_element(old_D: Array, new_D: Array, rms: float, known: float) -> float:
    for i in range(len(old_D)):
        old = _wide(old_D[i])
        relative = abs(_wide(new_D[i]) - old) / (abs(old) + rms)
        if relative > known:  # 0/0 is NaN, which is not greater
            known = relative
    return known


@_compiled
def _pair(
    old_TD: Array,
    new_TD: Array,
    start: int,
    stop: int,
    rms: float,
    rtol: float,
    new_squares_T: Array,
    products_T: Array,
    squares_T: Array,
    sizes_T: Array,
) -> tuple[float, int, float, float]:
    width = old_TD.shape[1]
    worst, place, element, excess = -1.0, 0, 0.0, 0.0
    for row in range(start, stop):
        nn = on = dd = sizes = 0.0
        largest, past = -1.0, 0
        for i in range(width):
            old = _wide(old_TD[row, i])
            new = _wide(new_TD[row, i])
            size = abs(old)
            apart = abs(new - old)
            nn += new * new
            on += old * new
            dd += apart * apart
            sizes += apart
            largest = max(largest, apart)
            excess = max(excess, apart - rtol * size)
            past |= apart > element * (size + rms)
        new_squares_T[row], products_T[row] = nn, on
        squares_T[row], sizes_T[row] = dd, sizes
        if past:  # few rows: no division for the others
            element = _largest_element(old_TD[row], new_TD[row], rms, element)
        if largest > worst:
            worst = largest
            for i in range(width):
                if abs(_wide(new_TD[row, i]) - _wide(old_TD[row, i])) == largest:
                    place = row * width + i
                    break
    return worst, place, element, excess
