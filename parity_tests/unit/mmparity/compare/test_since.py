# SPDX-License-Identifier: Apache-2.0
"""What a run says of the run before it in the same folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.compare.case import compare_traces
from mmparity.compare.result import FILE_NAME, build_result, write_result
from mmparity.compare.result_diff import difference, lines
from mmparity.compare.since import kept_of, last_run, since
from mmparity.report import render, terminal_summary
from mmparity.types.comparison import ComparisonResult
from mmparity.types.evidence import Since
from mmparity.types.provenance import Provenance

if TYPE_CHECKING:
    from conftest import Sides

POINT = "blocks.1.attn.context"


def test_two_results_differ_by_what_became_of_their_rows(
    passing: ComparisonResult, failing: ComparisonResult
) -> None:
    became = since(kept_of(passing), failing)
    assert became is not None
    first, *rest = lines(difference(passing, failing), became.changed)
    broken = sum(row.verdict != "pass" for row in failing.cases[0].layers)
    said = f"{failing.cases[0].id}: pass -> fail; {broken} rows pass no more"
    assert first == f"{said}, first {POINT}"
    (more,) = rest
    assert more.endswith("more differences: --json has all")


@pytest.fixture
def passing(sides: Sides) -> ComparisonResult:
    return build_result(
        [compare_traces(*sides.readers()[:2], None)], Provenance("2025-12-01")
    )


@pytest.fixture
def failing(sides: Sides, tmp_path: Path) -> ComparisonResult:
    """One hook point is 1 % too large."""
    other = type(sides)(tmp_path / "failing")
    other.new[POINT] = other.new[POINT] * 1.01
    return build_result(
        [compare_traces(*other.readers()[:2], None)], Provenance("2025-12-02")
    )


def found(first: ComparisonResult, second: ComparisonResult, out: Path) -> Since:
    write_result(first, out)
    result = since(last_run(out), second)
    assert result is not None
    return result


def test_rows_that_broke_and_rows_that_were_mended_are_told(
    passing: ComparisonResult, failing: ComparisonResult, tmp_path: Path
) -> None:
    broken = found(passing, failing, tmp_path / "a")
    (case,) = broken.changed
    assert (case.then, case.now, case.broken, case.mended) == ("pass", "fail", 1, 0)
    assert (case.first, broken.created) == (POINT, "2025-12-01")
    (case,) = found(failing, passing, tmp_path / "b").changed
    assert (case.then, case.now, case.broken, case.mended) == ("fail", "pass", 0, 1)


def test_every_form_of_the_report_says_it(
    passing: ComparisonResult, failing: ComparisonResult, tmp_path: Path
) -> None:
    result = replace(failing, since=found(passing, failing, tmp_path))
    said = "a verdict changed in 1 case of 1"
    line = f"{failing.cases[0].id} PASS → FAIL: 1 broken, first {POINT}"
    texts = render(result, ["html", "markdown", "text"])
    for text in (*texts.values(), terminal_summary(result)):
        assert said in text
        assert line[:40] in text


def test_a_run_like_the_one_before_says_so(
    passing: ComparisonResult, tmp_path: Path
) -> None:
    same = found(passing, passing, tmp_path)
    assert (same.cases, same.moved, same.changed) == (1, 0, ())
    text = terminal_summary(replace(passing, since=same))
    rows = f"{same.rows} rows as they were"
    assert f"Since the run of 2025-12-01: no verdict changed in 1 case; {rows}" in text


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_folder_without_a_result_says_nothing(
    passing: ComparisonResult, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    assert since(last_run(tmp_path), passing) is None


def test_a_run_of_other_cases_says_nothing(
    passing: ComparisonResult, tmp_path: Path
) -> None:
    other = replace(passing.cases[0], id="another")
    write_result(build_result([other], passing.provenance), tmp_path)
    assert since(last_run(tmp_path), passing) is None
