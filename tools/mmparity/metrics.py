# SPDX-License-Identifier: Apache-2.0
"""Two tensors of one shape, and the oracle's -> Metrics. No thresholds, no names.

All arithmetic is float64. Formulas (o old, n new, r oracle, i a token):

- normalized_l2_error    |n - o| / |o| over the whole tensor
- max_token_error        max_i |n_i - o_i| / max(|o_i|, TOKEN_FLOOR * rms token norm)
- max_element_error      max |n - o| / (|o| + rms(o))
- *_oracle_error         |x - r| / |r|, and so on with r in o's place

0/0 counts as 0 and x/0 as infinite. A token is a row of the first dimension; a
tensor of fewer than two dimensions is one token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from mmparity.types import Metrics

CHUNK_NUMEL = 1 << 16
"""A chunk's temporaries stay in a core's cache."""
TORCH_DEFAULTS = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float16: (1e-3, 1e-5),
}
"""rtol and atol of torch.testing.assert_close; 0 and 0 for every other dtype."""
TOKEN_FLOOR = 1e-3
"""A token this much smaller than the others is judged as if it were larger."""


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
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return torch.equal(_bits(old), _bits(new))


def measure(
    old: torch.Tensor, new: torch.Tensor, oracle: torch.Tensor | None = None
) -> Metrics:
    """All metrics of finite, non-empty tensors of one shape."""
    assert old.shape == new.shape and old.numel() > 0, (old.shape, new.shape)
    assert oracle is None or oracle.shape == old.shape, (oracle, old.shape)
    shape = tuple(old.shape)
    old_TD, new_TD = _tokens(old), _tokens(new)
    oracle_TD = None if oracle is None else _tokens(oracle)
    equal = bit_equal(old, new)
    pair = _Pair(old_TD, TORCH_DEFAULTS.get(old.dtype, (0.0, 0.0)))
    against = [] if oracle_TD is None else [_Error(), _Error()]
    oracle_rows = []
    for start in _starts(old_TD):
        rows = slice(start, start + _rows(old_TD))
        old_CD = old_TD[rows].double()
        new_CD = old_CD if equal else new_TD[rows].double()
        pair.add(old_CD, new_CD, start)
        if oracle_TD is None:
            continue
        oracle_CD = oracle_TD[rows].double()
        oracle_rows.append(_dot(oracle_CD, oracle_CD))
        against[0].add(old_CD - oracle_CD)
        if not equal:
            against[1].add(new_CD - oracle_CD)
    metrics = pair.metrics(shape, equal)
    if old.dtype != new.dtype:
        metrics = replace(metrics, torch_close=False)
    if oracle_TD is None:
        return metrics
    if equal:
        against[1] = against[0]
    reference_T = torch.cat(oracle_rows)
    of_old, of_new = (error.relative_to(reference_T) for error in against)
    return _with_oracle(metrics, of_old, of_new)


def token_errors(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Each token's normalized L2 error, new against old: float64, [T]."""
    old_TD, new_TD = _tokens(old).double(), _tokens(new).double()
    diff_TD = new_TD - old_TD
    return _token_errors(_dot(diff_TD, diff_TD), _dot(old_TD, old_TD))


class _Error:
    """Accumulates one difference, row by row."""

    def __init__(self) -> None:
        self.squares: list[torch.Tensor] = []
        self.max_abs = 0.0

    def add(self, diff_CD: torch.Tensor) -> None:
        self.squares.append(_dot(diff_CD, diff_CD))
        low, high = torch.aminmax(diff_CD)
        self.max_abs = max(self.max_abs, -low.item(), high.item())

    def relative_to(self, reference_T: torch.Tensor) -> tuple[float, float, float]:
        """Whole-tensor error, worst token's error, largest difference."""
        squares_T = torch.cat(self.squares)
        whole = _ratio(squares_T.sum().sqrt().item(), reference_T.sum().sqrt().item())
        token = _token_errors(squares_T, reference_T).max().item()
        return whole, token, self.max_abs


@dataclass
class _Worst:
    value: float = -1.0
    place: int = 0
    old: float = 0.0
    new: float = 0.0


class _Pair:
    """Accumulates what new and old have against each other."""

    def __init__(self, old_TD: torch.Tensor, close: tuple[float, float]) -> None:
        self.rtol, self.atol = close
        self.excess = 0.0
        self.width = old_TD.shape[1]
        self.numel = old_TD.numel()
        total = 0.0
        for start in _starts(old_TD):
            chunk = old_TD[start : start + _rows(old_TD)].double()
            total += torch.dot(chunk.reshape(-1), chunk.reshape(-1)).item()
        self.rms = math.sqrt(total / self.numel)
        keys = ("oo", "nn", "on", "dd")
        self.sums: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
        self.abs_sum = 0.0
        self.element = 0.0
        self.old_max_abs = 0.0
        self.worst = _Worst()

    def add(self, old_CD: torch.Tensor, new_CD: torch.Tensor, start: int) -> None:
        oo = _dot(old_CD, old_CD)
        self.sums["oo"].append(oo)
        size_CD = old_CD.abs()
        self.old_max_abs = max(self.old_max_abs, size_CD.max().item())
        if new_CD is old_CD:
            self.sums["nn"].append(oo)
            self.sums["on"].append(oo)
            self.sums["dd"].append(torch.zeros_like(oo))
            if self.worst.value < 0:
                first = old_CD[0, 0].item()
                self.worst = _Worst(0.0, 0, first, first)
            return
        diff_CD = (new_CD - old_CD).abs_()
        self.sums["nn"].append(_dot(new_CD, new_CD))
        self.sums["on"].append(_dot(old_CD, new_CD))
        self.sums["dd"].append(_dot(diff_CD, diff_CD))
        self.abs_sum += diff_CD.sum().item()
        self._keep_worst(old_CD, new_CD, diff_CD, start)
        if self.worst.value > 0:
            if self.excess <= self.atol:  # else the answer is known
                excess_CD = torch.sub(diff_CD, size_CD, alpha=self.rtol)
                self.excess = max(self.excess, excess_CD.max().item())
            size_CD += self.rms
            diff_CD /= size_CD
            zero_by_zero = torch.nan_to_num(diff_CD, nan=0.0, posinf=math.inf)
            self.element = max(self.element, zero_by_zero.max().item())

    def _keep_worst(
        self,
        old_CD: torch.Tensor,
        new_CD: torch.Tensor,
        diff_CD: torch.Tensor,
        start: int,
    ) -> None:
        place = int(diff_CD.argmax())
        value = diff_CD.reshape(-1)[place].item()
        if value > self.worst.value:
            old, new = (x.reshape(-1)[place].item() for x in (old_CD, new_CD))
            self.worst = _Worst(value, start * self.width + place, old, new)

    def metrics(self, shape: tuple[int, ...], equal: bool) -> Metrics:
        oo, nn, on, dd = (torch.cat(self.sums[key]) for key in ("oo", "nn", "on", "dd"))
        token_T = _token_errors(dd, oo)
        cosine_T = _cosine(on, oo, nn)
        lowest = int(cosine_T.argmin())
        worst_token = int(token_T.argmax())
        return Metrics(
            numel=self.numel,
            bit_equal=equal,
            max_abs_diff=self.worst.value,
            mean_abs_diff=self.abs_sum / self.numel,
            normalized_l2_error=_ratio(dd.sum().sqrt().item(), oo.sum().sqrt().item()),
            cosine_similarity=_cosine(on.sum(), oo.sum(), nn.sum()).item(),
            min_token_cosine=cosine_T[lowest].item(),
            min_token_cosine_index=lowest,
            max_token_error=token_T[worst_token].item(),
            max_token_error_index=worst_token,
            worst_index=_index(self.worst.place, shape),
            old_at_worst=self.worst.old,
            new_at_worst=self.worst.new,
            max_element_error=self.element,
            old_max_abs=self.old_max_abs,
            torch_close=self.excess <= self.atol,
        )


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


def _tokens(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() < 2:
        return tensor.reshape(1, -1)
    return tensor.reshape(tensor.shape[0], -1)


def _rows(tensor_TD: torch.Tensor) -> int:
    return max(1, CHUNK_NUMEL // tensor_TD.shape[1])


def _starts(tensor_TD: torch.Tensor) -> range:
    return range(0, tensor_TD.shape[0], _rows(tensor_TD))


def _dot(left_CD: torch.Tensor, right_CD: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vecdot(left_CD, right_CD)


def _ratio(part: float, whole: float) -> float:
    if whole == 0.0:
        return 0.0 if part == 0.0 else math.inf
    return part / whole


def _token_errors(squares_T: torch.Tensor, reference_T: torch.Tensor) -> torch.Tensor:
    floor = TOKEN_FLOOR * reference_T.mean().sqrt()
    norm_T = torch.maximum(reference_T.sqrt(), floor)
    error_T = squares_T.sqrt() / norm_T
    return torch.where(squares_T == 0, torch.zeros_like(error_T), error_T)


def _cosine(
    product: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """1 where both are zero, 0 where one is."""
    norm = left.sqrt() * right.sqrt()
    both_zero = (left == 0) & (right == 0)
    cosine = torch.where(norm > 0, product / norm, torch.zeros_like(norm))
    return torch.where(both_zero, torch.ones_like(norm), cosine).clamp(-1.0, 1.0)


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
