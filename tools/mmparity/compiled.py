# SPDX-License-Identifier: Apache-2.0
"""What compiled passes over tensors share: elements, and maxima that keep NaN.

A pass is by one thread: torch's wait at work for a while after each operation, and
others would have to share their cores. It runs without the interpreter's lock. It is
fast only where the compiler makes vectors of its loops, which takes sums without
order, maxima of integers, and indices from 0 on.
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
RUN = 1024
"""Elements of a row that are summed before their sum becomes float64."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
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
    """Contiguous rows of a dtype that the compiled code has; no copy."""
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
