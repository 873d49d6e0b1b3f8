# SPDX-License-Identifier: Apache-2.0
"""Two tensors of a hook point -> its row."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch

from mmparity.compare.align import Pair
from mmparity.compare.metrics.metrics import NotFinite, measure, non_finite
from mmparity.compare.tolerances import (
    Exceeded,
    above_noise,
    first_exceeded,
    held_to,
    is_integral,
    tolerance_for,
)
from mmparity.trace.hook_points import block_number
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import Expected
from mmparity.types.row import LayerComparison, Metrics, Noise, Tolerance
from mmparity.types.verdict import Verdict

LOST = "not bit-equal, as this pair is expected to be, though within tolerance"
METRIC_NAMES = {
    "normalized_l2_error": "normalized L2 error",
    "max_token_error": "worst token's L2 error",
    "max_element_error": "worst element's error relative to its size",
    "max_abs_diff": "greatest absolute difference",
    "new_oracle_error": "new's L2 error against the oracle",
    "new_oracle_max_token_error": "new's worst token error against the oracle",
    "new_oracle_max_abs_diff": "new's greatest difference from the oracle",
}


@dataclass(frozen=True)
class Judgement:
    """What became of one row."""

    verdict: Verdict
    reason: str = ""
    metrics: Metrics | None = None
    exceeded: Exceeded | None = None


@dataclass(frozen=True)
class Standard:
    """What a pair is held to, and what noise is worth at its hook points."""

    expected: Expected = "floor"
    noise: Mapping[str, Noise] = field(default_factory=dict)


BOUNDS = Standard()
"""Of the table, for dtype and kind."""


@dataclass(frozen=True)
class Readers:
    """The traces of one case."""

    old: TraceReader
    new: TraceReader
    oracle: TraceReader | None


def compare_pairs(
    pairs: tuple[Pair, ...], readers: Readers, how: Standard
) -> tuple[LayerComparison, ...]:
    """One hook point per thread: metrics work in chunks too small to split."""
    threads = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(
        threads, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        rows = pool.map(
            lambda item: _layer(item[1], item[0], readers, how), enumerate(pairs)
        )
        return tuple(rows)


def _layer(pair: Pair, order: int, readers: Readers, how: Standard) -> LayerComparison:
    present = pair.old or pair.new
    assert present is not None
    meta = readers.old.meta
    tolerance = tolerance_for(
        pair.hook_point, present.dtype, meta.dtype, meta.quantization
    )
    noise = how.noise.get(pair.hook_point)
    tolerance = held_to(above_noise(tolerance, noise), how.expected)
    row = LayerComparison(
        hook_point=pair.hook_point,
        order=order,
        block=block_number(pair.hook_point),
        verdict="error",
        old_path=pair.old.path if pair.old else "",
        new_path=pair.new.path if pair.new else "",
        old_transforms=pair.old.transforms if pair.old else (),
        new_transforms=pair.new.transforms if pair.new else (),
        shape=present.shape,
        old_dtype=pair.old.dtype if pair.old else "",
        new_dtype=pair.new.dtype if pair.new else "",
        metrics=None,
        tolerance=None,
        noise=noise,
    )
    return judged(row, judge(pair, readers, tolerance), tolerance)


def judged(
    row: LayerComparison, judgement: Judgement, tolerance: Tolerance
) -> LayerComparison:
    """The row with what became of it under this tolerance."""
    exceeded = judgement.exceeded
    return replace(
        row,
        verdict=judgement.verdict,
        reason=judgement.reason,
        metrics=judgement.metrics,
        tolerance=tolerance,
        exceeded=exceeded.metric if exceeded else None,
        value=exceeded.value if exceeded else None,
        allowed=exceeded.allowed if exceeded else None,
    )


def judge(pair: Pair, readers: Readers, tolerance: Tolerance) -> Judgement:
    """One hook point, judged on its tensors."""
    reason = unusable(pair, readers, tolerance)
    if reason:
        return Judgement("fail", reason)
    assert pair.old is not None and pair.new is not None
    old, new = readers.old.read(pair.hook_point), readers.new.read(pair.hook_point)
    if pair.old.digest == pair.new.digest:  # of dtype, shape and bits; read() checked
        new = old
    oracle = None
    if pair.oracle is not None and not tolerance.exact:
        assert readers.oracle is not None
        oracle = readers.oracle.read(pair.hook_point)
    return judge_tensors(old, new, oracle, tolerance)


def judge_tensors(
    old: torch.Tensor,
    new: torch.Tensor,
    oracle: torch.Tensor | None,
    tolerance: Tolerance,
) -> Judgement:
    """A row of usable records, judged on its tensors."""
    try:
        metrics = measure(old, new, oracle)
    except NotFinite:
        return _not_finite(old, new, oracle)
    judgement = judge_metrics(metrics, tolerance)
    if tolerance.exact and judgement.exceeded:
        mismatched = int((old != new).sum())
        counts = f"{mismatched} / {metrics.numel} ({mismatched / metrics.numel:.1%})"
        reason = f"mismatched elements: {counts}; {judgement.reason}"
        return replace(judgement, reason=reason)
    return judgement


def judge_metrics(metrics: Metrics, tolerance: Tolerance) -> Judgement:
    """A row, judged on what was measured."""
    exceeded = first_exceeded(metrics, tolerance)
    if exceeded is None:
        return Judgement("pass", metrics=metrics)
    return Judgement(
        "fail", _failure_text(metrics, exceeded, tolerance), metrics, exceeded
    )


def _not_finite(
    old: torch.Tensor, new: torch.Tensor, oracle: torch.Tensor | None
) -> Judgement:
    if not old.isfinite().all() and _overflow_alike(old, new):
        return Judgement(
            "error",
            f"both sides are not finite in the same elements: {non_finite(old)}. "
            "That is no difference between them, and nothing that could be judged",
        )
    for side, tensor, other in (("old", old, new), ("new", new, old)):
        broken = non_finite(tensor)
        if broken:
            both = f"; the other side: {non_finite(other) or 'finite'}"
            return Judgement("fail", f"{side} is not finite: {broken}{both}")
    assert oracle is not None
    return Judgement("error", f"the oracle is not finite: {non_finite(oracle)}")


def _overflow_alike(old: torch.Tensor, new: torch.Tensor) -> bool:
    """Whether the same elements are no numbers, and of the same kind."""
    kinds = (torch.isnan, torch.isposinf, torch.isneginf)
    return all(torch.equal(kind(old), kind(new)) for kind in kinds)


def unusable(pair: Pair, readers: Readers, tolerance: Tolerance) -> str | None:
    """Why the tensors need not even be read, or None."""
    if pair.old is None or pair.new is None:
        here, there = ("old", "new") if pair.old else ("new", "old")
        return (
            f"only {here} has this hook point, and {there} does not declare why it "
            "has none"
        )
    for side, record in (("old", pair.old), ("new", pair.new), ("oracle", pair.oracle)):
        if record is not None and record.error:
            return f"{side} could not be used: {record.error}"
        if record is not None and 0 in record.shape:
            return f"{side} is empty: shape {record.shape}"
    if pair.old.shape != pair.new.shape:
        return f"shape differs: old {pair.old.shape}, new {pair.new.shape}"
    one_is_integral = is_integral(pair.old.dtype) or is_integral(pair.new.dtype)
    if one_is_integral and pair.old.dtype != pair.new.dtype:
        return f"dtype differs: old {pair.old.dtype}, new {pair.new.dtype}"
    if readers.oracle is None or tolerance.exact:
        return None
    if pair.oracle is None:
        missing = "the oracle has no such hook point and does not declare why"
        return None if pair.oracle_absent else missing
    if pair.oracle.shape != pair.old.shape:
        return f"shape differs: old {pair.old.shape}, oracle {pair.oracle.shape}"
    return None


def _failure_text(metrics: Metrics, exceeded: Exceeded, tolerance: Tolerance) -> str:
    """Why a row fails that breaks a bound, in one sentence."""
    lost = tolerance.identical and exceeded.metric == "max_abs_diff"
    known = f"{LOST}: " if lost else ""
    return (
        f"{known}{METRIC_NAMES[exceeded.metric]} {exceeded.value:.3g} "
        f"(up to {exceeded.allowed:.3g} allowed); greatest absolute difference "
        f"{metrics.max_abs_diff:.4g} at index {metrics.worst_index}: "
        f"old {metrics.old_at_worst:.6g}, new {metrics.new_at_worst:.6g}"
    )
