# SPDX-License-Identifier: Apache-2.0
"""Two tensors of one shape, and the oracle's -> Metrics. No thresholds, no names.

Sums are float64, of bfloat16 in runs of float32 (``kernels``). Formulas (o old,
n new, r oracle, i a token):

- normalized_l2_error    |n - o| / |o| over the whole tensor
- max_token_error        max_i |n_i - o_i| / max(|o_i|, TOKEN_FLOOR * rms token norm)
- max_element_error      max |n - o| / (|o| + rms(o))
- *_oracle_error         |x - r| / |r|, and so on with r in o's place

0/0 counts as 0 and x/0 as infinite. A token is a row of the first dimension; a
tensor of fewer than two dimensions is one token.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from mmparity.compare.metrics import sums
from mmparity.compare.metrics.kernels import Array
from mmparity.compare.metrics.sums import Difference
from mmparity.types.row import Metrics

TORCH_DEFAULTS = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float16: (1e-3, 1e-5),
}
"""rtol and atol of torch.testing.assert_close; 0 and 0 for every other dtype."""
TOKEN_FLOOR = 1e-3
"""A token this much smaller than the others is judged as if it were larger."""


class NotFinite(ValueError):
    """A tensor has NaN or infinite elements; ``non_finite`` says which."""


def non_finite(tensor: torch.Tensor) -> str | None:
    """``"3 NaN, 1 Inf, first at (0, 5)"``, or None if every element is finite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return None
    low, high = torch.aminmax(tensor)
    if math.isfinite(low.item()) and math.isfinite(high.item()):
        return None
    bad = ~torch.isfinite(tensor)
    nans = int(torch.isnan(tensor).sum())
    place = _index(int(bad.reshape(-1).int().argmax()), tuple(tensor.shape))
    counts = [(nans, "NaN"), (int(bad.sum()) - nans, "Inf")]
    text = ", ".join(f"{count} {kind}" for count, kind in counts if count)
    return f"{text}, first at {place}"


def bit_equal(old: torch.Tensor, new: torch.Tensor) -> bool:
    """Same shape, dtype and bits."""
    if old is new:
        return True
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return torch.equal(_bits(old), _bits(new))


def measure(
    old: torch.Tensor,
    new: torch.Tensor,
    oracle: torch.Tensor | None = None,
) -> Metrics:
    """All metrics of non-empty tensors of one shape, in two passes over them.

    Raises NotFinite.
    """
    assert old.shape == new.shape and old.numel() > 0, (old.shape, new.shape)
    assert oracle is None or oracle.shape == old.shape, (oracle, old.shape)
    equal = bit_equal(old, new)
    old_TD, new_TD, oracle_TD = sums.arrays(old, new, oracle)
    oo_T, old_max_abs = sums.squares(old_TD)
    rtol, atol = TORCH_DEFAULTS.get(old.dtype, (0.0, 0.0))
    if equal:
        found = _no_difference(oo_T)
    else:
        found = sums.difference(old_TD, new_TD, oo_T, rtol)
    _check_finite((oo_T, old), (found.new_squares_T, new))
    metrics = replace(
        _metrics(old, new, oo_T, found),
        bit_equal=equal,
        old_max_abs=old_max_abs,
        torch_close=old.dtype == new.dtype and found.excess <= atol,
    )
    if oracle is None:
        return metrics
    reference_T = sums.squares(oracle_TD)[0]
    _check_finite((reference_T, oracle))
    of_old = _distance(old_TD, oracle_TD, reference_T)
    of_new = of_old if equal else _distance(new_TD, oracle_TD, reference_T)
    return _with_oracle(metrics, of_old, of_new)


def token_errors(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Each token's normalized L2 error, new against old: float64, [T]."""
    old_TD, new_TD = sums.arrays(old, new)
    oo_T, _ = sums.squares(old_TD)
    dd_T, _ = sums.distance(new_TD, old_TD)
    return torch.from_numpy(_token_errors(dd_T, oo_T))


def _no_difference(oo_T: Array) -> Difference:
    zero_T = np.zeros_like(oo_T)
    return Difference(oo_T, oo_T, zero_T, zero_T, 0.0, 0, 0.0, 0.0)


def _check_finite(*sides: tuple[Array, torch.Tensor]) -> None:
    """Finite sums of squares are of finite elements; others say nothing."""
    for squares_T, tensor in sides:
        if not np.isfinite(squares_T).all() and non_finite(tensor):
            raise NotFinite


def _metrics(
    old: torch.Tensor, new: torch.Tensor, oo_T: Array, found: Difference
) -> Metrics:
    nn_T, on_T, dd_T = found.new_squares_T, found.products_T, found.squares_T
    token_T = _token_errors(dd_T, oo_T)
    cosine_T = _cosine(on_T, oo_T, nn_T)
    lowest, worst_token = int(cosine_T.argmin()), int(token_T.argmax())
    oo, nn, on = (np.asarray(one.sum()) for one in (oo_T, nn_T, on_T))
    place = _index(found.place, tuple(old.shape))
    return Metrics(
        numel=old.numel(),
        bit_equal=False,
        max_abs_diff=found.worst,
        mean_abs_diff=float(found.sizes_T.sum()) / old.numel(),
        normalized_l2_error=_ratio(math.sqrt(dd_T.sum()), math.sqrt(oo)),
        cosine_similarity=_cosine(on, oo, nn).item(),
        min_token_cosine=cosine_T[lowest].item(),
        min_token_cosine_index=lowest,
        max_token_error=token_T[worst_token].item(),
        max_token_error_index=worst_token,
        worst_index=place,
        old_at_worst=float(old[place]),
        new_at_worst=float(new[place]),
        max_element_error=found.element,
        old_max_abs=0.0,
    )


def _distance(
    x_TD: Array, oracle_TD: Array, reference_T: Array
) -> tuple[float, float, float]:
    """Whole-tensor error, worst token's error, largest difference."""
    squares_T, largest = sums.distance(x_TD, oracle_TD)
    whole = _ratio(math.sqrt(squares_T.sum()), math.sqrt(reference_T.sum()))
    return whole, _token_errors(squares_T, reference_T).max().item(), largest


def _with_oracle(
    metrics: Metrics,
    of_old: tuple[float, float, float],
    of_new: tuple[float, float, float],
) -> Metrics:
    return replace(
        metrics,
        old_oracle_error=of_old[0],
        new_oracle_error=of_new[0],
        old_oracle_max_token_error=of_old[1],
        new_oracle_max_token_error=of_new[1],
        old_oracle_max_abs_diff=of_old[2],
        new_oracle_max_abs_diff=of_new[2],
    )


def _ratio(part: float, whole: float) -> float:
    if whole == 0.0:
        return 0.0 if part == 0.0 else math.inf
    return part / whole


def _token_errors(squares_T: Array, reference_T: Array) -> Array:
    floor = TOKEN_FLOOR * np.sqrt(reference_T.mean())
    norm_T = np.maximum(np.sqrt(reference_T), floor)
    with np.errstate(all="ignore"):
        return np.where(squares_T == 0, 0.0, np.sqrt(squares_T) / norm_T)


def _cosine(product: Array, left: Array, right: Array) -> Array:
    """1 where both are zero, 0 where one is."""
    norm = np.sqrt(left) * np.sqrt(right)
    with np.errstate(all="ignore"):
        cosine = np.where(norm > 0, product / norm, 0.0)
    both_zero = (left == 0) & (right == 0)
    return np.clip(np.where(both_zero, 1.0, cosine), -1.0, 1.0)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if tensor.is_complex() or tensor.dtype == torch.bool:
        return tensor
    return tensor.view(integers[tensor.element_size()])


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        place, rest = divmod(place, size)
        index.append(rest)
    return tuple(reversed(index))
