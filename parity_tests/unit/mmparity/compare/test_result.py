# SPDX-License-Identifier: Apache-2.0
"""comparison.json: strict, whole, counts add up, and reads back the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.compare.case import compare_traces
from mmparity.compare.result import build_result, read_result, to_json, write_result
from mmparity.errors import MmparityError
from mmparity.types.comparison import ComparisonResult, Summary
from mmparity.types.provenance import Provenance

if TYPE_CHECKING:
    from conftest import Sides


@pytest.fixture
def result(sides: Sides) -> ComparisonResult:
    sides.old["blocks.0"][:] = 0  # a relative error that is infinite
    sides.new_unmatched = (("visual.extra", "declared", True), ("odd", "none", False))
    case = compare_traces(*sides.readers(), repeat="mmparity run")
    return build_result([case], Provenance("now"))


def test_round_trip(result: ComparisonResult, tmp_path: Path) -> None:
    file = write_result(result, tmp_path)
    assert read_result(tmp_path) == read_result(file) == result
    assert to_json(read_result(file)) == file.read_text()
    assert [path.name for path in tmp_path.glob("comparison*")] == ["comparison.json"]


def test_json_is_strict_and_infinity_is_a_word(result: ComparisonResult) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    raw = json.loads(to_json(result), parse_constant=refuse)
    layers = {layer["hook_point"]: layer for layer in raw["cases"][0]["layers"]}
    assert layers["blocks.0"]["metrics"]["normalized_l2_error"] == "Infinity"
    layer = next(x for x in result.cases[0].layers if x.hook_point == "blocks.0")
    assert layer.metrics is not None
    assert math.isinf(layer.metrics.normalized_l2_error)


def test_top_level_is_what_the_design_promises(result: ComparisonResult) -> None:
    raw = json.loads(to_json(result))
    assert {"schema_version", "verdict", "summary", "first_divergence", "cases"} <= set(
        raw
    )
    assert raw["first_divergence"]["case"] == raw["cases"][0]["id"]


def test_counts_add_up(result: ComparisonResult) -> None:
    rows = len(result.cases[0].layers)
    assert result.summary == Summary(rows - 1, 2, 1, rows + 2)


def test_could_not_judge_outweighs_differs(result: ComparisonResult) -> None:
    failing = result.cases[0]
    broken = replace(failing, verdict="error", layers=())
    assert build_result([failing, broken], Provenance()).verdict == "error"
    assert build_result([failing], Provenance()).verdict == "fail"
    assert build_result([], Provenance()).verdict == "error"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "schema_version None"),
        ('{"schema_version": 99}', "schema_version 99; this tool reads 2"),
        ('{"schema_version": 1}', "schema_version 1; this tool reads 2"),
        ('{"schema_version": 2, "verdict": "maybe"}', "verdict"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(MmparityError, match=message):
        read_result(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match=r"comparison\.json cannot be read"):
        read_result(tmp_path)
