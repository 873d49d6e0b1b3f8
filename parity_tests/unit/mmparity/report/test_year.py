# SPDX-License-Identifier: Apache-2.0
"""A year of releases: who differs from whom and where, what it costs, and the chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mmparity.report.year import Release, releases
from mmparity.report.year_chart import CELL, chart
from mmparity.report.year_page import page
from mmparity.types.comparison import CaseComparison, ComparisonResult

FIRST, NEXT, LATER, BROKEN = "ascend-0.11.0", "vllm-0.12.0", "vllm-0.13.0", "gone"
AFTER = {FIRST: "", NEXT: FIRST, LATER: NEXT, BROKEN: LATER}
POINTS = ("embeddings", "blocks.0.attn.q", "blocks.0", "blocks.1", "last_hidden_state")


Parts = tuple[Callable[..., CaseComparison], Callable[..., ComparisonResult]]


@pytest.fixture(scope="module")
def result(parts: Parts) -> ComparisonResult:
    make_case, assemble = parts
    cases = [
        make_case(
            "video", dtype, pair, 2, fault if dtype == "bfloat16" else None, 1, POINTS
        )
        for pair, fault in (
            ((FIRST, NEXT), None),
            ((FIRST, LATER), 1),
            ((NEXT, LATER), 1),
        )
        for dtype in ("float32", "bfloat16")
    ]
    lost = replace(
        cases[0],
        new=BROKEN,
        layers=(),
        verdict="error",
        old_meta=None,
        new_meta=None,
        reason="gone could not run: /opt/some/bin/python cannot | import",
    )
    return assemble([*cases, lost])


@pytest.fixture(scope="module")
def found(result: ComparisonResult) -> dict[str, Release]:
    return {item.name: item for item in releases(result, FIRST, AFTER)}


def test_a_release_is_held_against_the_one_before_it_and_named_with_the_layer(
    found: dict[str, Release],
) -> None:
    assert list(found) == [FIRST, NEXT, LATER, BROKEN]
    later = found[LATER]
    assert later.before == NEXT
    assert list(later.findings) == ["bfloat16"]
    assert later.findings["bfloat16"].startswith("`blocks.0.attn.q`: normalized L2")
    assert list(later.same) == ["float32"]
    assert found[NEXT].findings == {} and found[NEXT].before == FIRST
    assert found[FIRST].before == ""


def test_errors_are_of_what_each_layer_hands_on(
    result: ComparisonResult, found: dict[str, Release]
) -> None:
    layers = ["embeddings", "block 0", "block 1", "last_hidden_state"]
    assert list(found[FIRST].errors["float32"]) == layers
    rows = {row.hook_point: row.metrics for row in result.cases[0].layers}
    last = rows["last_hidden_state"]
    assert last is not None
    assert found[FIRST].errors["float32"][layers[-1]] == last.old_oracle_error
    assert found[NEXT].errors["float32"][layers[-1]] == last.new_oracle_error
    assert found[NEXT].against_first["float32"] == last.normalized_l2_error


def test_what_could_not_run_is_a_row_that_says_so_without_its_folders(
    result: ComparisonResult, found: dict[str, Release]
) -> None:
    assert found[BROKEN].failed == "gone could not run: python cannot \\| import"
    text = page(result, tuple(found.values()), {}, "images/a-year.svg")
    assert "| `gone` | could not run |" in text
    assert "/opt" not in text


def test_a_before_that_was_not_run_is_the_first(result: ComparisonResult) -> None:
    found = {item.name: item for item in releases(result, FIRST, {LATER: "not run"})}
    assert found[LATER].before == FIRST


def test_the_table_has_a_row_each_as_wide_as_its_head(
    result: ComparisonResult, found: dict[str, Release]
) -> None:
    text = page(result, tuple(found.values()), {"installed": "why"}, "images/a.svg")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(found)
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    line = next(row for row in rows if row.startswith(f"| `{NEXT}`"))
    assert "| 163.5 | 0 | 2 | 340 | 17 MiB | 8 x its own | 0.81 s |" in line
    assert "`installed`: why" in text
    assert f"`{LATER}`, bfloat16, against `{NEXT}`: first at `blocks.0.attn.q`" in text


def test_other_versions_are_said_with_who_has_them(
    result: ComparisonResult, found: dict[str, Release]
) -> None:
    newer = {"torch": "2.13.0", "numpy": "3.0"}
    of = replace(result.provenance, environments={LATER: newer, NEXT: newer})
    text = page(replace(result, provenance=of), tuple(found.values()), {}, "a.svg")
    assert f"; `{LATER}`, `{NEXT}` with torch 2.13.0." in text


def test_same_bits_are_said(result: ComparisonResult) -> None:
    cases = []
    for one in result.cases[:2]:
        layers = tuple(
            replace(row, metrics=replace(row.metrics, normalized_l2_error=0.0))
            for row in one.layers
            if row.metrics
        )
        cases.append(replace(one, layers=layers))
    found = releases(replace(result, cases=tuple(cases)), FIRST, AFTER)
    text = page(result, found, {}, "a.svg")
    assert f"same bits as `{FIRST}`" in text
    assert "No release computes anything else" in text


def test_the_chart_has_a_number_and_a_colour_for_each_layer(
    found: dict[str, Release],
) -> None:
    tree = ElementTree.fromstring(chart(tuple(found.values())))
    names = {"s": "http://www.w3.org/2000/svg"}
    texts = [item.text or "" for item in tree.iterfind("s:text", names)]
    cells = [
        item
        for item in tree.iterfind("s:rect", names)
        if item.get("width") == f"{CELL - 2}"
    ]
    assert len(cells) == 3 * 2 * 4
    assert len([text for text in texts if "e-" in text]) == len(cells)
    assert f"✗ {LATER}" in texts and NEXT in texts
    assert texts.count("no result") == 2
    largest = max(
        e for item in found.values() for e in item.errors.get("float32", {}).values()
    )
    place = texts.index(f"{largest:.1e}")
    assert place > 0
    assert {item.get("fill") for item in cells} >= {"#1b4f8f", "#eaf2fb"}
