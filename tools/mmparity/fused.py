# SPDX-License-Identifier: Apache-2.0
"""Sums and maxima over tensors, compiled: each reads its tensors once.

Sums are of one row. Elements of bfloat16 are exact in float32: a run of a row is
summed in it, and the runs in float64. Of a row whose squares are too small or too
large for that, and of every other dtype, all is float64. A sum has as many parts as
the machine's vectors have lanes: another machine changes the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmparity.compiled import (
    RUN,
    Array,
    as_array,
    bits,
    compiled,
    number,
    wide,
)

NATIVE = {torch.bfloat16, torch.float32, torch.float64}
LEAST, MOST = 1e-24, 1e30
"""A row's sum of squares in between has no square that float32 cannot hold, or none
that matters."""


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
    return [None if row is None else as_array(row) for row in rows]


def squares(x_TD: Array) -> tuple[Array, float]:
    """Sum of squares of each token, and the largest size of an element."""
    squares_T = np.empty(len(x_TD))
    return squares_T, _squares(x_TD, _zero(x_TD), squares_T)


def difference(old_TD: Array, new_TD: Array, oo_T: Array, rtol: float) -> Difference:
    """New against old, whose sums of squares are known."""
    rms = float(np.sqrt(oo_T.sum() / old_TD.size))
    sums_4T = np.empty((4, len(old_TD)))
    found = _pair(old_TD, new_TD, _zero(old_TD), oo_T, rms, rtol, sums_4T)
    return Difference(*sums_4T, *found)


def distance(x_TD: Array, reference_TD: Array) -> tuple[Array, float]:
    """Of x - reference: each token's sum of squares, and the largest size."""
    squares_T = np.empty(len(x_TD))
    return squares_T, _distance(x_TD, reference_TD, squares_T)


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.float16:
        tensor = tensor.float()
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    return tensor.reshape(rows, -1).contiguous()


def _zero(x_TD: Array) -> Any:
    """Of the dtype in which a run is summed."""
    return np.float32(0) if x_TD.dtype == np.uint16 else np.float64(0)


@compiled
def _squares(x_TD: Array, zero: Any, squares_T: Array) -> float:
    most = 0.0
    for row in range(len(x_TD)):
        total, size = _row_squares(x_TD[row], zero)
        if not LEAST < total < MOST:
            total, size = _row_squares(x_TD[row], 0.0)
        squares_T[row] = total
        most = max(most, size)
    return most


@compiled
def _row_squares(x_D: Array, zero: Any) -> tuple[float, float]:
    total, largest = 0.0, bits(zero)
    for start in range(0, len(x_D), RUN):
        run, x_R = zero, x_D[start : start + RUN]
        for i in range(len(x_R)):
            x = wide(x_R[i], zero)
            run += x * x
            largest = max(largest, bits(abs(x)))
        total += run
    return total, number(largest)


@compiled
def _distance(x_TD: Array, reference_TD: Array, squares_T: Array) -> float:
    most = 0.0
    for row in range(len(x_TD)):
        squares_T[row], size = _row_distance(x_TD[row], reference_TD[row])
        most = max(most, size)
    return most


@compiled
def _row_distance(x_D: Array, reference_D: Array) -> tuple[float, float]:
    total, largest = 0.0, bits(0.0)
    for i in range(len(x_D)):
        apart = wide(x_D[i], 0.0) - wide(reference_D[i], 0.0)
        total += apart * apart
        largest = max(largest, bits(abs(apart)))
    return total, number(largest)


@compiled
def _pair(
    old_TD: Array,
    new_TD: Array,
    zero: Any,
    oo_T: Array,
    rms: float,
    rtol: float,
    sums_4T: Array,
) -> tuple[float, int, float, float]:
    """The worst difference, its place, the largest element's and the excess."""
    worst, place, element, excess = -1.0, 0, 0.0, 0.0
    for row in range(len(old_TD)):
        old_D, new_D = old_TD[row], new_TD[row]
        sums = _row_pair(old_D, new_D, zero, rms, rtol, element)
        if not (LEAST < sums[0] < MOST and LEAST < oo_T[row] < MOST):
            sums = _row_pair(old_D, new_D, 0.0, rms, rtol, element)
        nn, on, dd, sizes, largest, over, past = sums
        sums_4T[:, row] = nn, on, dd, sizes
        excess = max(excess, over)
        if past:  # few rows: no division for the others
            element = _largest_element(old_D, new_D, rms, element)
        if largest > worst:
            size, column = _first_worst(old_D, new_D)
            if size > worst:
                worst, place = size, row * len(old_D) + column
    return worst, place, element, excess


@compiled
def _row_pair(
    old_D: Array, new_D: Array, zero: Any, rms: float, rtol: float, element: float
) -> tuple[float, float, float, float, float, float, bool]:
    """new², old * new, d², d for d = |new - old|; its largest; excess; past element."""
    nn = on = dd = sizes = 0.0
    largest = excess = bits(zero)
    past = False
    mean, slack, known = wide(rms, zero), wide(rtol, zero), wide(element, zero)
    for start in range(0, len(old_D), RUN):
        old_R, new_R = old_D[start : start + RUN], new_D[start : start + RUN]
        run_nn = run_on = run_dd = run_sizes = zero
        for i in range(len(old_R)):
            old, new = wide(old_R[i], zero), wide(new_R[i], zero)
            size, apart = abs(old), abs(new - old)
            run_nn += new * new
            run_on += old * new
            run_dd += apart * apart
            run_sizes += apart
            largest = max(largest, bits(apart))
            excess = max(excess, bits(apart - slack * size))
            past |= apart > known * (size + mean)
        nn += run_nn
        on += run_on
        dd += run_dd
        sizes += run_sizes
    return nn, on, dd, sizes, number(largest), number(excess), past


@compiled
def _largest_element(old_D: Array, new_D: Array, rms: float, known: float) -> float:
    for i in range(len(old_D)):
        old = wide(old_D[i], 0.0)
        relative = abs(wide(new_D[i], 0.0) - old) / (abs(old) + rms)
        if relative > known:  # 0/0 is NaN, which is not greater
            known = relative
    return known


@compiled
def _first_worst(old_D: Array, new_D: Array) -> tuple[float, int]:
    worst, place = -1.0, 0
    for i in range(len(old_D)):
        apart = abs(wide(new_D[i], 0.0) - wide(old_D[i], 0.0))
        if apart > worst:
            worst, place = apart, i
    return worst, place
