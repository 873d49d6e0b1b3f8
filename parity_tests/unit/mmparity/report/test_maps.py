# SPDX-License-Identifier: Apache-2.0
"""The map of the encoder: which part of which block, by its error over its floor."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

import pytest

from mmparity.report import maps
from mmparity.trace.hook_points import expand
from mmparity.types.comparison import CaseComparison, ComparisonResult

Make = Callable[..., ComparisonResult]


def with_row(case: CaseComparison, place: int, **changes: object) -> CaseComparison:
    layers = list(case.layers)
    layers[place] = dataclasses.replace(layers[place], **changes)
    return dataclasses.replace(case, layers=tuple(layers))


def test_one_cell_for_each_hook_point_at_its_block(make: Make) -> None:
    (view,) = maps.maps(make(depth=3).cases)
    assert sorted(view.names) == sorted(expand(3))
    place = dict(zip(view.names, view.cells, strict=True))
    assert place["blocks.0.attn.q"][1] == place["blocks.2.attn.q"][1]
    lefts = [place[f"blocks.{i}.attn.q"][0] for i in range(3)]
    assert lefts == sorted(set(lefts))
    order = ("patch_embed", "blocks.0.norm1", "blocks.0.attn.q", "merger.mlp.0")
    tops = [place[name][1] for name in order]
    assert tops == sorted(set(tops))
    drawn = re.findall(r'class="cell level-\d" d="([^"]*)"', view.svg)
    assert "".join(drawn).count("M") == len(view.names)


def test_worst_case_gives_a_cell_its_colour_and_its_cross(make: Make) -> None:
    fault = expand(2).index("blocks.1.attn.proj")
    result = make(("image", "video"), depth=2, faults={1: fault})
    (view,) = maps.maps(result.cases)
    worst = dict(zip(view.names, view.worst, strict=True))
    assert view.cases == ("case-1", "case-2")
    assert worst["blocks.1.attn.proj"] == 1
    failed = sum(row.verdict != "pass" for row in result.cases[1].layers)
    crosses = re.search(r'class="crossed" d="([^"]*)"', view.svg)
    assert crosses is not None and crosses[1].count("M") == failed
    assert "the first blocks.1.attn.proj" in view.svg


def test_encoders_of_other_hook_points_have_a_map_of_their_own(make: Make) -> None:
    first, second = make(("image", "video"), depth=2).cases
    shorter = dataclasses.replace(second, layers=second.layers[:9])
    views = maps.maps((first, shorter))
    assert [view.cases for view in views] == [("case-1",), ("case-2",)]


@pytest.mark.parametrize(
    ("error", "floor", "level"),
    [(0.0, 0.0, 0), (1e-3, 1e-2, 1), (2e-2, 1e-2, 3), (1.0, 1e-2, 5), (1.0, 0.0, 5)],
)
def test_colour_is_the_error_over_the_floor(
    make: Make, error: float, floor: float, level: int
) -> None:
    (case,) = make(depth=1).cases
    metrics = case.layers[0].metrics
    assert metrics is not None
    metrics = dataclasses.replace(metrics, normalized_l2_error=error)
    row = dataclasses.replace(case.layers[0], metrics=metrics, null_floor=floor)
    assert maps.level(maps.floors(row)) == level


def test_old_that_is_exact_by_chance_has_the_floor_of_its_dtype(make: Make) -> None:
    row = make(depth=1).cases[0].layers[0]
    assert row.metrics is not None and row.tolerance is not None
    errors = {"normalized_l2_error": 8e-4, "old_oracle_error": 3e-8}
    row = dataclasses.replace(
        row,
        metrics=dataclasses.replace(row.metrics, **errors),
        tolerance=dataclasses.replace(row.tolerance, oracle_floor=4e-3),
    )
    assert maps.floors(row) == pytest.approx(0.2)


def test_row_without_a_number_is_the_worst(make: Make) -> None:
    (case,) = make(depth=1).cases
    assert maps.floors(dataclasses.replace(case.layers[0], metrics=None)) == math.inf
    (view,) = maps.maps((with_row(case, 3, metrics=None, verdict="error"),))
    assert f"the worst, {case.layers[3].hook_point}, is without a number" in view.svg


def test_huge_block_number_makes_no_huge_map(make: Make) -> None:
    (case,) = make(depth=1).cases
    far = with_row(case, 8, hook_point="blocks.999999999.attn.q")
    (view,) = maps.maps((far,))
    assert len(view.svg) < 20_000 and max(x for x, _ in view.cells) < 1000
