# SPDX-License-Identifier: Apache-2.0
"""Planted errors with known answers: the comparison fails, and names the place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from mmparity.compare.case import compare_traces
from mmparity.compare.rejudge import rejudge
from mmparity.compare.result import build_result
from mmparity.compare.rows import Standard
from mmparity.errors import MmparityError
from mmparity.types.comparison import CaseComparison
from mmparity.types.provenance import Provenance
from mmparity.types.row import LayerComparison

if TYPE_CHECKING:
    from conftest import Sides


def compare(sides: Sides, oracle: bool = True) -> CaseComparison:
    old, new, reference = sides.readers()
    return compare_traces(old, new, reference if oracle else None)


def failing(case: CaseComparison) -> list[LayerComparison]:
    return [layer for layer in case.layers if layer.verdict != "pass"]


def only_failing(case: CaseComparison, hook_point: str) -> LayerComparison:
    assert case.verdict == "fail", case.reason
    assert [layer.hook_point for layer in failing(case)] == [hook_point]
    return failing(case)[0]


def test_correct_pair_passes_with_every_hook_point_compared(sides: Sides) -> None:
    case = compare(sides)
    assert case.verdict == "pass", case.reason
    assert [layer.hook_point for layer in case.layers] == list(sides.old)
    assert all(layer.metrics is not None for layer in case.layers)
    assert case.id == "image/float32/old:new"


def test_pair_that_should_be_identical_fails_where_it_lost_its_bits(
    sides: Sides,
) -> None:
    same = {name: tensor.clone() for name, tensor in sides.old.items()}
    sides.new.update(same)
    old, new, reference = sides.readers()
    case = compare_traces(old, new, reference, standard=Standard("identical"))
    assert case.verdict == "pass", case.reason
    assert case.expected == "identical"

    sides.new["merger"][2, 3] *= 1 + 2.0**-22
    old, new, reference = sides.readers()
    assert compare_traces(old, new, reference).verdict == "pass"
    case = compare_traces(old, new, reference, standard=Standard("identical"))
    layer = only_failing(case, "merger")
    assert layer.reason.startswith("not bit-equal, as this pair is expected to be")
    assert layer.exceeded == "max_abs_diff"
    assert "1 of" in case.reason
    assert "not bit-equal" in case.reason


def test_what_is_out_of_tolerance_is_said_first(sides: Sides) -> None:
    sides.new.update({name: tensor.clone() for name, tensor in sides.old.items()})
    sides.new["merger"] = sides.new["merger"] * 1.01
    old, new, reference = sides.readers()
    case = compare_traces(old, new, reference, standard=Standard("identical"))
    assert only_failing(case, "merger").exceeded == "normalized_l2_error"
    assert "outside tolerance, first merger" in case.reason


def test_rejudging_holds_a_pair_to_what_was_expected(sides: Sides) -> None:
    sides.new.update({name: tensor.clone() for name, tensor in sides.old.items()})
    sides.new["merger"][2, 3] *= 1 + 2.0**-22
    old, new, reference = sides.readers()
    case = compare_traces(old, new, reference, standard=Standard("identical"))
    (again,) = rejudge(build_result([case], Provenance())).cases
    assert (again.verdict, again.layers) == ("fail", case.layers)


def test_identical_tensors_are_bit_equal_even_far_from_the_oracle(sides: Sides) -> None:
    sides.old["merger"] = sides.new["merger"] = torch.ones(6, 32)
    case = compare(sides)
    assert case.verdict == "pass"
    assert case.layers[-1].metrics is not None
    assert case.layers[-1].metrics.bit_equal


@pytest.mark.parametrize("oracle", [True, False])
def test_single_changed_element_is_located(sides: Sides, oracle: bool) -> None:
    sides.new["blocks.1.attn.context"][7, 2, 3] += 0.01
    layer = only_failing(compare(sides, oracle), "blocks.1.attn.context")
    assert layer.metrics is not None
    assert layer.metrics.worst_index == (7, 2, 3)
    assert "at index (7, 2, 3)" in layer.reason
    assert layer.block == 1
    assert [row.block for row in compare(sides).layers] == [
        None,
        None,
        *4 * [0],
        *4 * [1],
        None,
    ]


def test_one_element_among_a_million_beside_an_outlier_channel(sides: Sides) -> None:
    generator = torch.Generator().manual_seed(5)
    exact = torch.randn(1000, 1000, generator=generator, dtype=torch.float64)
    exact[:, 17] *= 1000
    noise = [torch.randn(1000, 1000, generator=generator) for _ in range(2)]
    sides.oracle["blocks.0"] = exact
    sides.old["blocks.0"], sides.new["blocks.0"] = (
        (exact * (1 + 1e-7 * part)).float() for part in noise
    )
    assert compare(sides).verdict == "pass"
    sides.new["blocks.0"][500, 500] *= -1
    layer = only_failing(compare(sides), "blocks.0")
    assert layer.metrics is not None
    assert layer.metrics.worst_index == (500, 500)


def test_permuted_heads_fail(sides: Sides) -> None:
    context = sides.new["blocks.0.attn.context"]
    sides.new["blocks.0.attn.context"] = context[:, [1, 0, 2, 3]]
    only_failing(compare(sides), "blocks.0.attn.context")


def test_swapped_q_and_k_fail_at_both(sides: Sides) -> None:
    names = "blocks.0.attn.q", "blocks.0.attn.k"
    sides.new.update({names[0]: sides.new[names[1]], names[1]: sides.new[names[0]]})
    case = compare(sides)
    assert [layer.hook_point for layer in failing(case)] == list(names)


def test_one_broken_token_of_many_is_named(sides: Sides) -> None:
    sides.new["blocks.0"][11] *= 1.001
    layer = only_failing(compare(sides), "blocks.0")
    assert layer.metrics is not None
    assert layer.metrics.max_token_error_index == 11


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["old", "new"])
def test_non_finite_never_passes(sides: Sides, value: float, side: str) -> None:
    getattr(sides, side)["merger"][2, 3] = value
    layer = only_failing(compare(sides), "merger")
    assert f"{side} is not finite" in layer.reason
    assert "first at (2, 3)" in layer.reason
    assert "the other side: finite" in layer.reason
    assert layer.metrics is None


def test_overflow_of_both_sides_is_no_difference_and_no_pass(sides: Sides) -> None:
    for tensors in (sides.old, sides.new):
        tensors["merger"][2, 3] = float("inf")
    case = compare(sides)
    (layer,) = failing(case)
    assert (case.verdict, layer.verdict) == ("error", "error")
    assert "no difference between them" in layer.reason
    assert "first at (2, 3)" in layer.reason

    sides.new["merger"][2, 3] = float("nan")
    assert only_failing(compare(sides), "merger").hook_point == "merger"


def test_non_finite_oracle_is_an_error(sides: Sides) -> None:
    sides.oracle["merger"][0, 0] = float("nan")
    case = compare(sides)
    assert case.verdict == "error"
    assert [layer.hook_point for layer in failing(case)] == ["merger"]


@pytest.mark.parametrize("side", ["old", "new"])
def test_hook_point_on_one_side_only_fails_in_its_place(
    sides: Sides, side: str
) -> None:
    del getattr(sides, side)["blocks.0"]
    case = compare(sides)
    layer = only_failing(case, "blocks.0")
    assert f"{side} does not declare" in layer.reason
    assert [layer.hook_point for layer in case.layers] == list(sides.oracle)


def test_declared_absence_is_unmatched_with_its_reason(sides: Sides) -> None:
    del sides.new["blocks.0"]
    sides.new_unmatched = (("blocks.0", "fused into the next block", True),)
    case = compare(sides)
    assert case.verdict == "pass"
    assert [(item.path, item.side) for item in case.unmatched] == [("blocks.0", "old")]
    result = build_result([case], Provenance())
    assert result.summary.unmatched == 1
    assert result.summary.total == len(sides.old)


def test_module_that_nobody_declared_fails(sides: Sides) -> None:
    sides.new_unmatched = (("visual.extra", "no hook point is known for it", False),)
    case = compare(sides)
    assert case.verdict == "fail"
    assert "visual.extra" in case.reason
    assert build_result([case], Provenance()).summary.failed == 1


def test_oracle_without_the_hook_point_fails_unless_declared(sides: Sides) -> None:
    del sides.oracle["blocks.1"]
    only_failing(compare(sides), "blocks.1")
    sides.oracle_unmatched = (("blocks.1", "transformers has no such module", True),)
    assert compare(sides).verdict == "pass"


def test_empty_tensor_fails(sides: Sides) -> None:
    for side in (sides.old, sides.new, sides.oracle):
        side["merger"] = torch.zeros(0, 32)
    assert "empty" in only_failing(compare(sides), "merger").reason


def test_shape_with_a_batch_dimension_fails(sides: Sides) -> None:
    sides.new["merger"] = sides.new["merger"][None]
    layer = only_failing(compare(sides), "merger")
    assert layer.reason == "shape differs: old (6, 32), new (1, 6, 32)"


RAISED = "blocks.1.attn raised ValueError: no such grid"


def stops(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """What was made before a hook point."""
    names = list(tensors)
    return {key: tensors[key] for key in names[: names.index(name)]}


@pytest.mark.parametrize("side", ["old", "new"])
def test_what_was_made_until_an_encoder_raised_is_compared(
    sides: Sides, side: str
) -> None:
    setattr(sides, side, stops(getattr(sides, side), "blocks.1.attn.q"))
    meta = replace(getattr(sides, f"{side}_meta"), raised=RAISED)
    setattr(sides, f"{side}_meta", meta)
    case = compare(sides)
    assert case.verdict == "error"
    assert case.reason == f"{side}: {RAISED}; 6 hook points until then passed"
    assert len(case.layers) == 6 and not failing(case)
    noted = [(item.path, item.side, item.explained) for item in case.unmatched]
    assert (RAISED, side, False) in noted


def test_a_row_that_fails_before_an_encoder_raised_fails_the_case(sides: Sides) -> None:
    sides.new = stops(sides.new, "blocks.1.attn.q")
    sides.new["patch_embed"] *= 2
    sides.new_meta = replace(sides.new_meta, raised=RAISED)
    case = compare(sides)
    assert case.verdict == "fail"
    assert "first patch_embed" in case.reason and RAISED in case.reason


def test_an_oracle_that_raised_judges_nothing(sides: Sides) -> None:
    sides.oracle_meta = replace(sides.oracle_meta, raised=RAISED)
    with pytest.raises(MmparityError, match=r"the oracle's blocks\.1\.attn raised"):
        compare(sides)


def test_record_with_an_error_fails(sides: Sides) -> None:
    sides.new_errors = {"blocks.0.attn.q": "3 padded lanes are not zero"}
    layer = only_failing(compare(sides), "blocks.0.attn.q")
    assert "3 padded lanes are not zero" in layer.reason


def test_control_tensors_are_as_wide_on_both_sides(sides: Sides) -> None:
    sides.new["attn.seqlens"] = sides.new["attn.seqlens"].to(torch.int64)
    layer = only_failing(compare(sides), "attn.seqlens")
    assert layer.reason == "dtype differs: old int32, new int64"


def test_control_tensors_are_exact_by_value(sides: Sides) -> None:
    sides.new["attn.seqlens"][1] += 1
    layer = only_failing(compare(sides), "attn.seqlens")
    assert "mismatched elements: 1 / 3" in layer.reason


def test_new_much_further_from_the_oracle_than_old_fails(sides: Sides) -> None:
    noise = torch.randn(sides.old["blocks.1"].shape, dtype=torch.float64)
    exact = sides.oracle["blocks.1"]
    sides.new["blocks.1"] = (exact * (1 + 2e-6 * noise)).float()
    layer = only_failing(compare(sides), "blocks.1")
    assert layer.exceeded == "new_oracle_error"
    assert compare(sides, oracle=False).verdict == "pass"


def test_bfloat16_noise_passes_and_a_permuted_head_does_not(sides: Sides) -> None:
    sides.old, sides.new = (sides.noisy(seed, torch.bfloat16) for seed in (1, 2))
    sides.old_meta = replace(sides.old_meta, dtype="bfloat16")
    sides.new_meta = replace(sides.new_meta, dtype="bfloat16")
    assert compare(sides).verdict == "pass"
    sides.new["blocks.0.attn.q"] = sides.new["blocks.0.attn.q"].flip(1)
    only_failing(compare(sides), "blocks.0.attn.q")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights_digest", "other"),
        ("pixels_digest", "other"),
        ("grid_thw", ((1, 6, 4),)),
        ("dtype", "bfloat16"),
        ("depth", 3),
    ],
)
def test_traces_of_different_computations_are_refused(
    sides: Sides, field: str, value: object
) -> None:
    sides.new_meta = replace(sides.new_meta, **{field: value})
    with pytest.raises(MmparityError, match=field):
        compare(sides)


def test_oracle_of_other_weights_or_not_in_float64_is_refused(sides: Sides) -> None:
    sides.oracle_meta = replace(sides.oracle_meta, dtype="float32")
    with pytest.raises(MmparityError, match="float64 is needed"):
        compare(sides)
    sides.oracle_meta = replace(sides.oracle_meta, weights_digest="x", dtype="float64")
    with pytest.raises(MmparityError, match="weights_digest"):
        compare(sides)


def test_undeclared_structural_difference_fails_the_case(sides: Sides) -> None:
    modules = {**sides.new_meta.modules, "blocks.1": "OtherBlock"}
    sides.new_meta = replace(sides.new_meta, modules=modules)
    assert compare(sides).verdict == "pass", "no series joins old and new"
    sides.old_meta = replace(sides.old_meta, implementation="vllm-0.12.0")
    sides.new_meta = replace(sides.new_meta, implementation="unified")
    case = compare(sides)
    assert {layer.verdict for layer in case.layers} == {"pass"}
    assert case.verdict == "fail"
    assert case.reason == (
        "structural differences that no patch intends: 1, first modules: blocks.{i}"
    )
    (found,) = case.structure
    assert (found.old, found.new, found.blocks) == ("Block", "OtherBlock", (1,))


def test_result_holds_differences_and_not_both_structures(sides: Sides) -> None:
    case = compare(sides)
    assert case.new_meta is not None and case.new_meta.hyper_parameters
    assert not case.new_meta.modules and not case.new_meta.parameters


def test_traces_without_a_hook_point_are_an_error(sides: Sides) -> None:
    sides.old, sides.new = {}, {}
    case = compare(sides)
    assert case.verdict == "error"
    assert build_result([case], Provenance()).verdict == "error"


def test_first_divergence_is_the_earliest_row(sides: Sides) -> None:
    clean = compare(sides)
    sides.new["blocks.1.attn.q"][0, 0, 0] += 1
    sides.new["merger"][0, 0] += 1
    result = build_result([clean, compare(sides)], Provenance())
    divergence = result.first_divergence
    assert result.verdict == "fail"
    assert divergence is not None
    assert divergence.hook_point == "blocks.1.attn.q"
    assert divergence.last_passing == "blocks.0"
    assert (divergence.later_failing, divergence.later_total) == (1, 4)


def test_a_damaged_file_is_an_error_also_where_the_digests_say_the_same(
    sides: Sides,
) -> None:
    sides.new = {name: tensor.clone() for name, tensor in sides.old.items()}
    old, new, _ = sides.readers()
    assert all(row.metrics.bit_equal for row in compare_traces(old, new, None).layers)
    file = max(new.directory.glob("*.safetensors"), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(MmparityError, match="does not have the digest"):
        compare_traces(old, new, None)
