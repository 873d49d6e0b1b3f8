# SPDX-License-Identifier: Apache-2.0
"""Sums and maxima over tensors of any dtype, as rows for the compiled passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmparity.compare.metrics import kernels
from mmparity.compare.metrics.kernels import NATIVE, Array, as_array


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
    return squares_T, kernels.squares(x_TD, _zero(x_TD), squares_T)


def difference(old_TD: Array, new_TD: Array, oo_T: Array, rtol: float) -> Difference:
    """New against old, whose sums of squares are known."""
    rms = float(np.sqrt(oo_T.sum() / old_TD.size))
    sums_4T = np.empty((4, len(old_TD)))
    found = kernels.pair(old_TD, new_TD, _zero(old_TD), oo_T, rms, rtol, sums_4T)
    return Difference(*sums_4T, *found)


def distance(x_TD: Array, reference_TD: Array) -> tuple[Array, float]:
    """Of x - reference: each token's sum of squares, and the largest size."""
    squares_T = np.empty(len(x_TD))
    return squares_T, kernels.distance(x_TD, reference_TD, squares_T)


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.float16:
        tensor = tensor.float()
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    return tensor.reshape(rows, -1).contiguous()


def _zero(x_TD: Array) -> Any:
    """Of the dtype in which a run is summed."""
    return np.float32(0) if x_TD.dtype == np.uint16 else np.float64(0)
