# SPDX-License-Identifier: Apache-2.0
"""Which bound catches what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmparity.compare.tolerances import first_exceeded, quantized_floors, tolerance_for
from mmparity.encoders.devices import DTYPES
from mmparity.errors import MmparityError
from mmparity.trace.hook_points import HOOK_POINTS
from mmparity.types.row import Metrics

CLOSE = Metrics(
    numel=8,
    bit_equal=False,
    max_abs_diff=1e-7,
    mean_abs_diff=1e-7,
    normalized_l2_error=1e-7,
    cosine_similarity=1.0,
    min_token_cosine=1.0,
    min_token_cosine_index=0,
    max_token_error=1e-7,
    max_token_error_index=0,
    worst_index=(0,),
    old_at_worst=1.0,
    new_at_worst=1.0,
    max_element_error=1e-7,
    old_max_abs=4.0,
    old_oracle_error=2e-7,
    new_oracle_error=2e-7,
    old_oracle_max_token_error=2e-7,
    new_oracle_max_token_error=2e-7,
    old_oracle_max_abs_diff=1e-6,
    new_oracle_max_abs_diff=1e-6,
)
TOLERANCE = tolerance_for("blocks.0.attn.proj", "float32", "float32")


def test_close_metrics_pass() -> None:
    assert first_exceeded(CLOSE, TOLERANCE) is None


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("normalized_l2_error", 2e-5),
        ("max_token_error", 6e-5),
        ("max_element_error", 3e-4),
        ("new_oracle_error", 4.1e-7),
        ("new_oracle_max_token_error", 8.1e-7),
        ("new_oracle_max_abs_diff", 4.1e-6),
        ("normalized_l2_error", float("nan")),
        ("normalized_l2_error", float("inf")),
    ],
)
def test_each_bound_catches_its_metric_alone(metric: str, value: float) -> None:
    exceeded = first_exceeded(replace(CLOSE, **{metric: value}), TOLERANCE)
    assert exceeded is not None
    assert exceeded.metric == metric
    assert not exceeded.value <= exceeded.allowed


def test_new_may_be_better_than_old_and_old_exact_by_chance() -> None:
    better = replace(CLOSE, old_oracle_error=9e-7, new_oracle_error=1e-9)
    assert first_exceeded(better, TOLERANCE) is None
    lucky = replace(CLOSE, old_oracle_error=0.0, new_oracle_error=1e-7)
    assert first_exceeded(lucky, TOLERANCE) is None


def test_both_far_from_the_oracle_fail_though_they_agree() -> None:
    wrong = replace(CLOSE, old_oracle_error=0.1, new_oracle_error=0.1)
    exceeded = first_exceeded(wrong, TOLERANCE)
    assert exceeded is not None
    assert exceeded.metric == "new_oracle_error"


def test_bit_equal_passes_and_exact_needs_no_difference() -> None:
    wrong = replace(CLOSE, bit_equal=True, max_abs_diff=0.0, new_oracle_error=1.0)
    assert first_exceeded(wrong, TOLERANCE) is None
    exact = tolerance_for("blocks.0.seqlens", "int32", "float32")
    assert first_exceeded(CLOSE, exact) is not None
    assert first_exceeded(replace(CLOSE, max_abs_diff=0.0), exact) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_hook_point_has_a_tolerance_in_every_dtype(dtype: str) -> None:
    for point in HOOK_POINTS:
        stored = "int64" if point.kind == "integer" else dtype
        tolerance = tolerance_for(point.name, stored, dtype)
        assert tolerance.exact == (point.kind == "integer")
        assert tolerance.reason


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(MmparityError, match="no tolerance for dtype 'float8'"):
        tolerance_for("x", "float8", "float8")


def test_w8a8_bounds_are_what_the_released_encoder_differs_by_from_itself() -> None:
    floors = quantized_floors()
    assert len(floors.sources) == 3, "threads, eager, packed"
    for source in floors.sources:
        assert source.startswith("w8a8/bfloat16/ascend-0.11.0:ascend-0.11.0 (")
    (measured,) = floors.provenance
    assert "--depth" not in measured.command and "--fast" not in measured.command
    floor = floors.errors["bfloat16"]["blocks.{i}.mlp.down_proj"]
    name, plain = "blocks.31.mlp.down_proj", ("bfloat16", "bfloat16")
    bound = tolerance_for(name, *plain, "W8A8")
    assert bound.normalized_l2_error == bound.oracle_error == 1.5 * floor
    assert bound.max_token_error == 3 * floor
    assert bound.oracle_factor == tolerance_for(name, *plain).oracle_factor
    assert f"W8A8: 1.5 floors of {floor:.2e}" in bound.reason


@pytest.mark.parametrize(
    ("hook_point", "dtype", "quantization"),
    [
        ("blocks.31.mlp.down_proj", "bfloat16", ""),
        ("blocks.31.attn.k", "bfloat16", "W8A8"),
        ("blocks.31.mlp.fc1", "bfloat16", "W8A8"),
        ("rotary.cos", "bfloat16", "W8A8"),
        ("blocks.31.mlp.down_proj", "float32", "W8A8"),
    ],
)
def test_nothing_else_is_allowed_more(
    hook_point: str, dtype: str, quantization: str
) -> None:
    given = tolerance_for(hook_point, dtype, dtype, quantization)
    assert given == tolerance_for(hook_point, dtype, dtype)
