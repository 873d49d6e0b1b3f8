# SPDX-License-Identifier: Apache-2.0
"""From a failing row down to what makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmparity.compare.case import compare_traces
from mmparity.compare.descent import between
from mmparity.compare.result import build_result
from mmparity.types.comparison import FirstDivergence
from mmparity.types.provenance import Provenance

if TYPE_CHECKING:
    from conftest import Sides


def first(sides: Sides) -> FirstDivergence:
    result = build_result([compare_traces(*sides.readers())], Provenance())
    assert result.first_divergence is not None
    assert result.cases[0].reason.endswith(result.first_divergence.hook_point)
    return result.first_divergence


def test_integers_and_control_tensors_come_before_floats(sides: Sides) -> None:
    moved = sides.new.pop("attn.seqlens")
    sides.new["patch_embed"][0, 0] += 1
    sides.new = {**sides.new, "attn.seqlens": moved + torch.tensor([0, 1, 0])}
    sides.old["attn.seqlens"] = sides.old.pop("attn.seqlens")  # the last one made
    found = first(sides)
    assert found.hook_point == "attn.seqlens"
    assert found.about == "it comes from the grid alone, before any weight"


def test_the_way_down_counts_the_rows_that_fail(sides: Sides) -> None:
    for name in ("blocks.1.attn.k", "blocks.1.attn.context"):
        sides.new[name] = sides.new[name] * 1.01
    found = first(sides)
    assert found.descent == (
        "blocks.1: 2 of 4 rows fail",
        "blocks.1.attn: 2 of 3 rows fail",
        "blocks.1.attn.k",
    )
    assert found.last_passing == "blocks.1.attn.q"
    assert found.about.endswith("made by that or by the code since blocks.1.attn.q")


def test_a_parent_that_differs_though_its_children_match(sides: Sides) -> None:
    sides.new["blocks.0"] = sides.new["blocks.0"] * 1.01
    found = first(sides)
    assert found.about == (
        "children match, parent differs: all 3 parts of blocks.0 pass, so the code "
        "between them, in its forward after blocks.0.attn.context, makes it"
    )


def test_a_parent_whose_child_differs_is_not_blamed(sides: Sides) -> None:
    for name in ("blocks.0.attn.k", "blocks.0"):
        sides.new[name] = sides.new[name] * 1.01
    case = compare_traces(*sides.readers())
    row = next(layer for layer in case.layers if layer.hook_point == "blocks.0")
    text = between(row, case.layers)
    assert text == "1 of 3 parts of blocks.0 differ: blocks.0.attn.k"
    fed = {layer.hook_point: layer.verdict for layer in case.layers}
    assert "the code in the forward of blocks.0" in between(row, case.layers, fed)
