# SPDX-License-Identifier: Apache-2.0
"""Float32 and bfloat16 of one case say together what kind a difference is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmparity.compare.precision import kind_of, precision_verdicts
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import LayerComparison, Metrics
from mmparity.types.verdict import Verdict


def metrics(bit_equal: bool) -> Metrics:
    zero = 0.0 if bit_equal else 1e-7
    return Metrics(
        numel=1,
        bit_equal=bit_equal,
        max_abs_diff=zero,
        mean_abs_diff=zero,
        normalized_l2_error=zero,
        cosine_similarity=1.0,
        min_token_cosine=1.0,
        min_token_cosine_index=0,
        max_token_error=zero,
        max_token_error_index=0,
        worst_index=(0,),
        old_at_worst=1.0,
        new_at_worst=1.0,
        max_element_error=zero,
        old_max_abs=1.0,
    )


def row(verdict: Verdict, *, equal: bool = False, name: str = "a") -> LayerComparison:
    return LayerComparison(
        hook_point=name,
        order=0,
        block=None,
        verdict=verdict,
        old_path="",
        new_path="",
        old_transforms=(),
        new_transforms=(),
        shape=(1,),
        old_dtype="",
        new_dtype="",
        metrics=metrics(equal),
        tolerance=None,
    )


def case(dtype: str, *layers: LayerComparison, new: str = "new") -> CaseComparison:
    return CaseComparison(
        id=f"image/{dtype}/old:{new}",
        name="image",
        dtype=dtype,
        old="old",
        new=new,
        oracle=None,
        verdict="pass",
        reason="",
        description="",
        grid_thw=(),
        layers=layers,
        unmatched=(),
        structure=(),
        old_meta=None,
        new_meta=None,
        repeat="",
    )


@pytest.mark.parametrize(
    ("high", "low", "kind"),
    [
        (row("fail"), row("fail"), "structural"),
        (row("fail"), row("pass"), "structural"),
        (row("pass"), row("fail"), "dtype path"),
        (row("pass", equal=True), row("fail"), "dtype path"),
        (row("pass"), row("pass"), "rounding only"),
        (row("pass", equal=True), row("pass"), "rounding only"),
        (row("pass", equal=True), row("pass", equal=True), "equal"),
        (row("error"), row("fail"), "unknown"),
        (row("pass"), None, "unknown"),
        (None, row("pass"), "unknown"),
    ],
)
def test_kind(
    high: LayerComparison | None, low: LayerComparison | None, kind: str
) -> None:
    assert kind_of(high, low) == kind


def test_a_pair_of_dtypes_gets_the_most_serious_kind() -> None:
    high = case("float32", row("pass", equal=True), row("pass", name="b"))
    low = case("bfloat16", row("pass", equal=True), row("fail", name="b"))
    [found] = precision_verdicts([high, low])
    assert (found.high, found.low) == (high.id, low.id)
    assert found.verdict == "dtype path"
    assert found.counts == {"equal": 1, "dtype path": 1}
    assert found.first == {"equal": "a", "dtype path": "b"}
    assert found.kinds == {"a": "equal", "b": "dtype path"}


def test_a_hook_point_of_one_dtype_alone_is_never_rounding() -> None:
    low = case("bfloat16", row("pass"), row("pass", name="b"))
    [found] = precision_verdicts([case("float32", row("pass")), low])
    assert found.verdict == "unknown"


def test_one_dtype_or_another_pair_says_nothing() -> None:
    high, low = case("float32", row("pass")), case("bfloat16", row("pass"))
    assert precision_verdicts([high]) == ()
    assert precision_verdicts([low]) == ()
    assert precision_verdicts([high, replace(low, new="other")]) == ()
    assert precision_verdicts([case("float32"), low]) == ()
