# SPDX-License-Identifier: Apache-2.0
"""Coverage and precision verdicts are in every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmparity.report import render, terminal_summary
from mmparity.types.comparison import ComparisonResult, Coverage

Make = Callable[..., ComparisonResult]
FORMATS = ("html", "markdown", "text")


@pytest.fixture
def two_dtypes(make: Make) -> ComparisonResult:
    """The fault is in bfloat16 alone."""
    return make(dtypes=("float32", "bfloat16"), depth=2, faults={1: 12})


@pytest.mark.parametrize("form", FORMATS)
def test_precision_is_shown(two_dtypes: ComparisonResult, form: str) -> None:
    text = render(two_dtypes, [form])[form]
    assert "dtype path" in text
    assert "rounding only" in text
    assert two_dtypes.precision[0].first["dtype path"] in text


def test_the_terminal_counts_the_kinds(two_dtypes: ComparisonResult) -> None:
    lines = terminal_summary(two_dtypes).splitlines()
    assert "float32 and narrower: 1 dtype path" in lines
    assert len(lines) <= 15


def test_the_terminal_has_no_such_line_for_one_dtype(make: Make) -> None:
    assert "narrower" not in terminal_summary(make(depth=2))


@pytest.mark.parametrize("form", FORMATS)
def test_coverage_is_shown(passing: ComparisonResult, form: str) -> None:
    text = render(passing, [form])[form]
    assert "paths covered" in text or form == "text"
    assert "126 executed paths covered" in " ".join(text.split()) or form != "text"


def test_uncovered_paths_are_named_and_never_rounded_away(
    passing: ComparisonResult,
) -> None:
    some = Coverage(5000, 4990, 0, 9, 1, 99.98, ("new: <i>blocks.0.extra</i>",))
    cases = (replace(passing.cases[0], coverage=some),)
    texts = render(replace(passing, cases=cases), FORMATS)
    assert "1 UNCOVERED (new: <i>blocks.0.extra</i>)" in " ".join(texts["text"].split())
    assert "&lt;i&gt;blocks.0.extra" in texts["html"]
    terminal = terminal_summary(replace(passing, cases=cases))
    assert ">99% of 5,000 paths covered" in " ".join(terminal.split())
