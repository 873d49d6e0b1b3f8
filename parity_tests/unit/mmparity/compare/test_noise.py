# SPDX-License-Identifier: Apache-2.0
"""Measured noise widens a bound, and takes the place of a factor on old's error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmparity.compare.case import compare_traces
from mmparity.compare.noise import noise_of
from mmparity.compare.rejudge import rejudge
from mmparity.compare.result import build_result
from mmparity.compare.rows import Standard
from mmparity.compare.tolerances import above_noise, first_exceeded, tolerance_for
from mmparity.types.provenance import Provenance
from mmparity.types.row import Metrics, Noise

if TYPE_CHECKING:
    from conftest import Sides

ROW = tolerance_for("blocks.31", "bfloat16", "bfloat16")
METRICS = Metrics(
    numel=100,
    bit_equal=False,
    max_abs_diff=0.1,
    mean_abs_diff=0.01,
    normalized_l2_error=0.08,
    cosine_similarity=0.99,
    min_token_cosine=0.99,
    min_token_cosine_index=0,
    max_token_error=0.1,
    max_token_error_index=0,
    worst_index=(0,),
    old_at_worst=1.0,
    new_at_worst=1.1,
    max_element_error=0.1,
    old_max_abs=2.0,
    old_oracle_error=0.06,
    new_oracle_error=0.06,
    old_oracle_max_token_error=0.1,
    new_oracle_max_token_error=0.1,
    old_oracle_max_abs_diff=0.1,
    new_oracle_max_abs_diff=0.1,
)


def test_what_old_differs_by_from_itself_is_allowed() -> None:
    noise = Noise(0.05, 0.1, 0.5, 0.001)
    exceeded = first_exceeded(METRICS, ROW)
    assert exceeded is not None
    assert exceeded.metric == "normalized_l2_error"
    assert first_exceeded(METRICS, above_noise(ROW, noise)) is None
    assert "3 times noise of 5.00e-02" in above_noise(ROW, noise).reason


def test_no_noise_makes_a_bound_tighter_than_the_table() -> None:
    quiet = above_noise(ROW, Noise(0.0, 0.0, 0.0, 0.0))
    assert quiet.normalized_l2_error == ROW.normalized_l2_error
    assert quiet.reason == ROW.reason


def test_late_layers_may_not_be_worse_than_noise_makes_them() -> None:
    worse = replace(METRICS, normalized_l2_error=0.04, new_oracle_error=0.08)
    loud = replace(ROW, oracle_error=1.0)
    assert first_exceeded(worse, loud) is None, (
        "a factor of 1.5 on old's error allows it"
    )
    held = above_noise(loud, Noise(0.04, 0.05, 0.5, 0.001))
    exceeded = first_exceeded(worse, held)
    assert exceeded is not None
    assert exceeded.metric == "new_oracle_error"
    assert exceeded.allowed == 1.25 * 0.06 + 3 * 0.001
    noisy = above_noise(loud, Noise(0.04, 0.05, 0.5, 0.01))
    assert first_exceeded(worse, noisy) is None


def test_an_early_layer_may_be_what_another_kernel_makes_of_it() -> None:
    early = tolerance_for("patch_embed", "float32", "float32")
    errors = {"old_oracle_error": 3.35e-7, "new_oracle_error": 6.71e-7}
    row = replace(METRICS, normalized_l2_error=7e-7, **errors)
    same = {name: 1e-9 for name in vars(METRICS) if "oracle_max" in name}
    row = replace(row, max_token_error=0.0, max_element_error=0.0, **same)
    assert first_exceeded(row, early) is not None, "a factor of 2.0 does not allow it"
    noise = Noise(7e-7, 7e-7, 7e-7, 3.3e-7)
    assert first_exceeded(row, above_noise(early, noise)) is None


def test_the_worst_element_may_be_what_another_kernel_makes_of_it() -> None:
    """Of a product that vLLM's kernel rounds less than the NPU's, on an AMD EPYC."""
    early = tolerance_for("patch_embed", "float32", "float32")
    row = replace(
        METRICS,
        normalized_l2_error=7e-7,
        max_token_error=1e-6,
        max_element_error=1e-5,
        old_oracle_error=2.05e-7,
        new_oracle_error=6.54e-7,
        old_oracle_max_token_error=4.91e-7,
        new_oracle_max_token_error=1.58e-6,
        old_oracle_max_abs_diff=1.91e-5,
        new_oracle_max_abs_diff=1.03e-4,
    )
    held = above_noise(early, Noise(5.2e-7, 9.3e-7, 8.3e-6, 2.86e-7))
    assert first_exceeded(row, held) is None
    quiet = above_noise(early, Noise(5.2e-7, 9.3e-7, 8.3e-6, 5e-8))
    exceeded = first_exceeded(replace(row, new_oracle_error=4e-7), quiet)
    assert exceeded is not None
    assert exceeded.metric == "new_oracle_max_abs_diff"


def test_noise_of_a_hook_point_does_not_shrink_with_the_blocks(sides: Sides) -> None:
    for block, error in ((0, 2e-6), (1, 1e-6)):
        name = f"blocks.{block}.attn.context"
        sides.new[name] = sides.old[name] * (1 + error)
    found = noise_of(compare_traces(*sides.readers()))
    first, second = (found[f"blocks.{i}.attn.context"] for i in (0, 1))
    assert second.normalized_l2_error >= first.normalized_l2_error > 1e-6
    assert not any(name.endswith("seqlens") for name in found)


def test_what_has_no_like_changes_as_the_blocks_do(sides: Sides) -> None:
    sides.new["blocks.1"] = sides.old["blocks.1"] * (1 + 2e-6)
    found = noise_of(compare_traces(*sides.readers()))
    assert found["blocks.1"].oracle_change > 1e-7
    assert found["merger"].oracle_change >= found["blocks.1"].oracle_change
    assert found["merger"].normalized_l2_error < 1e-7
    assert found["patch_embed"].oracle_change < 1e-7


def test_a_twin_with_the_same_bits_has_measured_no_noise(sides: Sides) -> None:
    sides.new = {name: tensor.clone() for name, tensor in sides.old.items()}
    assert noise_of(compare_traces(*sides.readers())) == {}


def test_rejudging_keeps_the_noise_that_was_measured(sides: Sides) -> None:
    sides.new["merger"] = sides.old["merger"] * (1 + 2e-5)
    noise = {"merger": Noise(1e-5, 1e-5, 1e-4, 1.0)}
    old, new, _ = sides.readers()
    assert compare_traces(old, new, None).verdict == "fail"
    case = compare_traces(old, new, None, standard=Standard("floor", noise))
    assert case.verdict == "pass"
    (again,) = rejudge(build_result([case], Provenance())).cases
    assert again.layers == case.layers
