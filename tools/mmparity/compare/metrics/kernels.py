# SPDX-License-Identifier: Apache-2.0
"""Compiled passes over tensors: each reads its tensors once.

All are in this file, for a change of another one would not have them compiled again. A
pass is by one thread: torch's wait at work for a while after each operation, and others
would have to share their cores. It runs without the interpreter's lock. It is fast only
where the compiler makes vectors of its loops, which takes sums without order, maxima of
integers, and indices from 0 on.

Sums are of one row. Elements of bfloat16 are exact in float32: a run of a row is
summed in it, and the runs in float64. Of a row whose squares are too small or too
large for that, and of every other dtype, all is float64. A sum has as many parts as
the machine's vectors have lanes: another machine changes the last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload

Array = Any
"""A C-contiguous array [T, D]: float32, float64, or uint16 for bfloat16's bits."""
NATIVE = {torch.bfloat16, torch.float32, torch.float64}
"""What is read as it is."""
RUN = 1024
"""Elements of a row that are summed before their sum becomes float64."""
LEAST, MOST = 1e-24, 1e30
"""A row's sum of squares in between has no square that float32 cannot hold, or none
that matters."""


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


def as_array(rows_TD: torch.Tensor) -> Array:
    """Contiguous rows of a native dtype; no copy."""
    bits = rows_TD.dtype == torch.bfloat16
    return (rows_TD.view(torch.uint16) if bits else rows_TD).numpy()


def wide(value: Any, zero: Any) -> Any:
    """An element as a number of ``zero``'s dtype."""
    raise NotImplementedError  # compiled code has one for each dtype


@overload(wide, inline="always", strict=False)  # type: ignore[misc]
def _wide(value: Any, zero: Any) -> Callable[[Any, Any], Any]:
    dtype = np.float32 if zero == numba.types.float32 else np.float64
    if isinstance(value, numba.types.Integer):  # bfloat16: float32's upper half

        def of_bits(value: Any, zero: Any) -> Any:
            return dtype(np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32))

        return of_bits
    return lambda value, zero: dtype(value)


def bits(value: Any) -> Any:
    """A number's bits: of two that are not negative, the larger has the larger.

    A maximum of integers is found in vectors, whatever is to become of NaN: it is
    above all numbers.
    """
    raise NotImplementedError


@overload(bits, inline="always", strict=False)  # type: ignore[misc]
def _bits(value: Any) -> Callable[[Any], Any]:
    kind, dtype = _PAIRS[value][:2]
    return lambda value: kind(value).view(dtype)


def magnitude(value: Any) -> Any:
    """A number's bits without a sign: all that are negative are above the others."""
    raise NotImplementedError


@overload(magnitude, inline="always", strict=False)  # type: ignore[misc]
def _magnitude(value: Any) -> Callable[[Any], Any]:
    kind, _, dtype = _PAIRS[value]
    return lambda value: kind(value).view(dtype)


def number(of_bits: Any) -> Any:
    """The number that has these bits, as float64."""
    raise NotImplementedError


@overload(number, inline="always", strict=False)  # type: ignore[misc]
def _number(of_bits: Any) -> Callable[[Any], Any]:
    dtype, _, kind = _PAIRS[
        numba.types.float32 if of_bits.bitwidth == 32 else numba.types.float64
    ]
    return lambda of_bits: np.float64(kind(of_bits).view(dtype))


_PAIRS: dict[Any, tuple[Any, Any, Any]] = {
    numba.types.float32: (np.float32, np.int32, np.uint32),
    numba.types.float64: (np.float64, np.int64, np.uint64),
}
"""A number's type -> it, and integers of its size with and without a sign."""


@_compiled
def squares(x_TD: Array, zero: Any, squares_T: Array) -> float:
    """Each row's sum of squares to ``squares_T``; the largest size of an element."""
    most = 0.0
    for row in range(len(x_TD)):
        total, size = _row_squares(x_TD[row], zero)
        if not LEAST < total < MOST:
            total, size = _row_squares(x_TD[row], 0.0)
        squares_T[row] = total
        most = max(most, size)
    return most


@_compiled
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


@_compiled
def distance(x_TD: Array, reference_TD: Array, squares_T: Array) -> float:
    """The same of x - reference."""
    most = 0.0
    for row in range(len(x_TD)):
        squares_T[row], size = _row_distance(x_TD[row], reference_TD[row])
        most = max(most, size)
    return most


@_compiled
def _row_distance(x_D: Array, reference_D: Array) -> tuple[float, float]:
    total, largest = 0.0, bits(0.0)
    for i in range(len(x_D)):
        apart = wide(x_D[i], 0.0) - wide(reference_D[i], 0.0)
        total += apart * apart
        largest = max(largest, bits(abs(apart)))
    return total, number(largest)


@_compiled
def pair(
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


@_compiled
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


@_compiled
def _largest_element(old_D: Array, new_D: Array, rms: float, known: float) -> float:
    for i in range(len(old_D)):
        old = wide(old_D[i], 0.0)
        relative = abs(wide(new_D[i], 0.0) - old) / (abs(old) + rms)
        if relative > known:  # 0/0 is NaN, which is not greater
            known = relative
    return known


@_compiled
def _first_worst(old_D: Array, new_D: Array) -> tuple[float, int]:
    worst, place = -1.0, 0
    for i in range(len(old_D)):
        apart = abs(wide(new_D[i], 0.0) - wide(old_D[i], 0.0))
        if apart > worst:
            worst, place = apart, i
    return worst, place


@_compiled
def statistics(x_TD: Array, vectors_PD: Array, zero: Any, out: Array) -> None:
    """Each row's norm, minimum, maximum, and products with 8 vectors."""
    for row in range(len(x_TD)):
        _row_statistics(x_TD[row], vectors_PD, zero, out[row])


@_compiled
def _row_statistics(x_D: Array, vectors_PD: Array, zero: Any, out: Array) -> None:
    total = p0 = p1 = p2 = p3 = p4 = p5 = p6 = p7 = 0.0
    first = wide(x_D[0], zero)
    most, low, high = bits(first), magnitude(first), magnitude(first)
    for start in range(0, len(x_D), RUN):
        end = start + RUN
        x_R = x_D[start:end]
        v0, v1 = vectors_PD[0][start:end], vectors_PD[1][start:end]
        v2, v3 = vectors_PD[2][start:end], vectors_PD[3][start:end]
        v4, v5 = vectors_PD[4][start:end], vectors_PD[5][start:end]
        v6, v7 = vectors_PD[6][start:end], vectors_PD[7][start:end]
        squares = r0 = r1 = r2 = r3 = r4 = r5 = r6 = r7 = zero
        for i in range(len(x_R)):
            x = wide(x_R[i], zero)
            squares += x * x
            most = max(most, bits(x))
            low = min(low, magnitude(x))
            high = max(high, magnitude(x))
            r0 += x * v0[i]
            r1 += x * v1[i]
            r2 += x * v2[i]
            r3 += x * v3[i]
            r4 += x * v4[i]
            r5 += x * v5[i]
            r6 += x * v6[i]
            r7 += x * v7[i]
        total += squares
        p0 += r0
        p1 += r1
        p2 += r2
        p3 += r3
        p4 += r4
        p5 += r5
        p6 += r6
        p7 += r7
    out[0] = np.sqrt(total)
    out[1] = number(high) if number(high) < 0 else number(low)
    out[2] = number(most) if most >= 0 else number(low)
    for k, p in enumerate((p0, p1, p2, p3, p4, p5, p6, p7)):
        out[3 + k] = p
