# SPDX-License-Identifier: Apache-2.0
"""Metrics against plain float64 formulas, and where they must not mislead."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmparity.compare.metrics.metrics import bit_equal, measure, non_finite

SHAPES = st.sampled_from([(7,), (3, 4), (5, 2, 3), (1, 9), (6, 1), (130, 5)])
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int32])


@settings(max_examples=60, deadline=None)
@given(SHAPES, DTYPES, st.integers(0, 2**31))
def test_equals_plain_formulas(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old, new, oracle = (
        (3 * torch.randn(shape, generator=generator)).to(dtype) for _ in range(3)
    )
    got = measure(old, new, oracle)
    o, n, r = (x.double() for x in (old, new, oracle))
    rows = (1, -1) if len(shape) == 1 else (shape[0], -1)
    od, nd, rd = (x.reshape(rows) for x in (o, n, r))
    diff = (n - o).abs()
    rms = o.square().mean().sqrt()

    def relative(part: torch.Tensor, whole: torch.Tensor) -> float:
        if part.norm() == 0:
            return 0.0
        return float(part.norm() / whole.norm())

    def per_token(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        floor = 1e-3 * whole.square().sum(1).mean().sqrt()
        value = part.norm(dim=1) / whole.norm(dim=1).clamp(min=float(floor))
        return torch.nan_to_num(value, posinf=math.inf)

    single = dtype == torch.bfloat16  # summed in float32, a run of a row at a time
    exact = {"rel": 1e-9, "abs": 1e-12}
    close = {"rel": 1e-6, "abs": 1e-6} if single else exact
    assert got.max_abs_diff == pytest.approx(float(diff.max()), **exact)
    assert got.mean_abs_diff == pytest.approx(float(diff.mean()), **close)
    assert got.normalized_l2_error == pytest.approx(relative(n - o, o), **close)
    tokens = per_token(nd - od, od)
    assert got.max_token_error == pytest.approx(float(tokens.max()), **close)
    element = torch.nan_to_num(diff / (o.abs() + rms), posinf=math.inf)
    assert got.max_element_error == pytest.approx(float(element.max()), **close)
    assert float(diff[got.worst_index]) == pytest.approx(got.max_abs_diff, **exact)
    assert got.old_at_worst == pytest.approx(float(o[got.worst_index]))
    assert got.new_at_worst == pytest.approx(float(n[got.worst_index]))
    assert got.old_oracle_error == pytest.approx(relative(o - r, r), **close)
    assert got.new_oracle_error == pytest.approx(relative(n - r, r), **close)
    worst = float(per_token(nd - rd, rd).max())
    assert got.new_oracle_max_token_error == pytest.approx(worst, **close)
    largest = float((o - r).abs().max())
    assert got.old_oracle_max_abs_diff == pytest.approx(largest, **exact)
    if o.norm() > 0 and n.norm() > 0:
        cosine = float((o * n).sum() / (o.norm() * n.norm()))
        assert got.cosine_similarity == pytest.approx(cosine, **close)


def test_identical_tensors_have_no_difference_and_equal_oracle_errors() -> None:
    old = torch.randn(40, 8)
    got = measure(old, old.clone(), torch.randn(40, 8))
    assert got.bit_equal
    assert (got.max_abs_diff, got.normalized_l2_error, got.max_token_error) == (0, 0, 0)
    assert (got.cosine_similarity, got.min_token_cosine) == pytest.approx((1, 1))
    assert got.old_oracle_error == got.new_oracle_error
    assert got.old_oracle_max_abs_diff == got.new_oracle_max_abs_diff


def test_one_broken_token_shows_in_the_token_metrics() -> None:
    old = torch.randn(1024, 64)
    new = old.clone()
    new[700] *= -1
    got = measure(old, new)
    assert got.cosine_similarity > 0.99
    assert (got.min_token_cosine_index, got.max_token_error_index) == (700, 700)
    assert got.min_token_cosine == pytest.approx(-1)
    assert got.max_token_error == pytest.approx(2)


def test_zero_against_zero_is_equal_and_against_something_infinite() -> None:
    zero, one = torch.zeros(2, 3), torch.ones(2, 3)
    got = measure(zero, zero.clone(), zero.clone())
    assert (got.normalized_l2_error, got.max_token_error, got.new_oracle_error) == (
        0,
        0,
        0,
    )
    assert got.cosine_similarity == 1
    got = measure(zero, one, zero)
    assert math.isinf(got.normalized_l2_error)
    assert math.isinf(got.max_token_error)
    assert math.isinf(got.max_element_error)
    assert got.cosine_similarity == 0


def test_tiny_difference_on_a_zero_token_is_judged_against_the_others() -> None:
    old = torch.randn(100, 64)
    old[3] = 0
    new = old.clone()
    new[3, 0] = 1e-9
    assert measure(old, new).max_token_error < 1e-6


def test_bit_equality_sees_the_sign_of_zero_and_the_dtype() -> None:
    zero = torch.zeros(3)
    assert bit_equal(zero, zero.clone())
    assert not bit_equal(zero, -zero)
    assert not bit_equal(zero, zero.double())
    assert bit_equal(torch.tensor([True]), torch.tensor([True]))


def test_non_finite_is_counted_and_located() -> None:
    tensor = torch.ones(3, 4, dtype=torch.bfloat16)
    assert non_finite(tensor) is None
    assert non_finite(torch.ones(2, dtype=torch.int32)) is None
    tensor[1, 2] = float("nan")
    tensor[2, 0] = float("-inf")
    assert non_finite(tensor) == "1 NaN, 1 Inf, first at (1, 2)"


@settings(max_examples=60, deadline=None)
@given(DTYPES, st.integers(0, 2**31), st.sampled_from((0.0, 1e-6, 1e-5, 2e-2, 0.5)))
def test_torchs_own_verdict_is_that_of_assert_close(
    dtype: torch.dtype, seed: int, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old = (3 * torch.randn(9, 5, generator=generator)).to(dtype)
    noise = size * torch.randn(9, 5, generator=generator)
    new = (old.double() * (1 + noise)).to(dtype)
    try:
        torch.testing.assert_close(new, old)
        close = True
    except AssertionError:
        close = False
    assert measure(old, new).torch_close == close


def test_another_dtype_is_not_close() -> None:
    old = torch.ones(2, 2)
    assert measure(old, old.double()).torch_close is False
