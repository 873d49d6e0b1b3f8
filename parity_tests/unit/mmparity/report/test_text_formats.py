# SPDX-License-Identifier: Apache-2.0
"""Terminal, text, Markdown and JUnit say what the result says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mmparity.errors import MmparityError
from mmparity.report import (
    labels,
    markdown,
    render,
    rows,
    terminal_summary,
    write_reports,
)
from mmparity.types.comparison import ComparisonResult
from mmparity.types.provenance import Source
from mmparity.types.trace import Unmatched

Make = Callable[..., ComparisonResult]
MANY = {
    "names": ("image", "two-images", "video", "ragged"),
    "dtypes": ("bfloat16", "float32"),
    "pairs": (("a", "b"), ("c", "d"), ("e", "f")),
}


def test_terminal_fits_its_lines(make: Make) -> None:
    for faults in ({}, {4: 100}, dict.fromkeys(range(24), 3)):
        lines = terminal_summary(make(**MANY, faults=faults)).splitlines()
        assert len(lines) <= 15
        assert max(map(len, lines)) <= 88


def test_terminal_names_the_divergence(failing: ComparisonResult) -> None:
    first = failing.first_divergence
    text = terminal_summary(failing)
    assert first is not None and first.last_passing
    assert text.startswith("FAIL  different: 26 of 84 rows failed\n")
    for expected in (first.hook_point, first.last_passing, "2.17e-2", "0.0104"):
        assert expected in text


def test_color_only_when_asked(failing: ComparisonResult) -> None:
    assert "\x1b" not in terminal_summary(failing)
    assert terminal_summary(failing, color=True).startswith("\x1b[31mFAIL\x1b[0m")


def test_undeclared_unmatched_path_is_said_everywhere(
    passing: ComparisonResult,
) -> None:
    lost = Unmatched("visual.lost", "old", "nobody declared it", explained=False)
    case = dataclasses.replace(passing.cases[0], verdict="fail", unmatched=(lost,))
    summary = dataclasses.replace(passing.summary, failed=1, unmatched=0)
    result = dataclasses.replace(
        passing, verdict="fail", cases=(case,), summary=summary
    )
    texts = render(result, ["html", "markdown", "text"])
    assert all("visual.lost" in text for text in texts.values())
    assert "UNDECLARED visual.lost" in texts["text"]
    assert "1 path without a partner, undeclared: visual.lost (old)" in (
        terminal_summary(result)
    )
    assert "Nearest to a limit" not in "".join(texts.values())


def test_markdown_says_what_it_cut(make: Make) -> None:
    text = render(make(**MANY, faults={4: 100}), ["markdown"])["markdown"]
    assert len(text) <= markdown.LIMIT
    assert "Cut to fit 65,536 characters" in text
    assert text.count("<details>") == text.count("</details>") > 10


def test_small_markdown_is_whole(failing: ComparisonResult) -> None:
    text = render(failing, ["markdown"])["markdown"]
    assert "Cut to fit" not in text
    assert "and 16 more failing rows" in text


def test_junit_counts_and_lists(failing: ComparisonResult) -> None:
    root = ElementTree.fromstring(render(failing, ["junit"])["junit"].encode())
    assert dict(root.attrib) == {
        "name": "mmparity",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    failure = root.find(".//testcase[@name='video bfloat16']/failure")
    assert failure is not None and failure.text is not None
    bad = [r.hook_point for r in failing.cases[1].layers if r.verdict != "pass"]
    assert [name for name in bad if f"{name}: " not in failure.text] == []
    assert root.find(".//testcase[@name='image bfloat16']/failure") is None


@pytest.mark.parametrize("verdict", ["fail", "error"])
def test_junit_is_never_green_without_a_pass(
    passing: ComparisonResult, verdict: str
) -> None:
    for cases in ((), passing.cases):
        result = dataclasses.replace(passing, verdict=verdict, cases=cases)
        root = ElementTree.fromstring(render(result, ["junit"])["junit"].encode())
        assert int(root.get("failures", 0)) + int(root.get("errors", 0)) == 1


def test_error_has_its_reason_in_every_format(error: ComparisonResult) -> None:
    texts = render(error, ["html", "markdown", "junit", "text"])
    texts["terminal"] = terminal_summary(error)
    for name, text in texts.items():
        words = " ".join(text.split())
        assert "missing operator npu_rotary_mul" in words, name
        assert "ERROR" in text or "<error" in text, name


def test_files_are_written_whole(failing: ComparisonResult, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    paths = write_reports(failing, out, ["html", "markdown", "junit", "text"])
    assert sorted(p.name for p in out.iterdir()) == [
        "report.html",
        "report.md",
        "report.txt",
        "report.xml",
    ]
    texts = render(failing, list(paths))
    assert {n: p.read_text(encoding="utf-8") for n, p in paths.items()} == texts


def test_failed_write_leaves_the_old_file(
    failing: ComparisonResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_reports(failing, tmp_path, ["text"])["text"]
    before = old.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MmparityError, match="No space left on device"):
        write_reports(failing, tmp_path, ["text"])
    assert [p.name for p in tmp_path.iterdir()] == ["report.txt"]
    assert old.read_bytes() == before


def test_unknown_format_is_named(failing: ComparisonResult, tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match=r"pdf.*Allowed: html, markdown"):
        write_reports(failing, tmp_path, ["pdf"])


def test_result_with_no_case_renders(passing: ComparisonResult) -> None:
    empty = dataclasses.replace(passing, verdict="error", cases=())
    texts = render(empty, ["html", "markdown", "junit", "text"])
    assert all(text for text in texts.values())
    assert "no case ran" in terminal_summary(empty)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "n/a"),
        (0.0, "0"),
        (1.2345e-7, "1.23e-7"),
        (12.0, "1.20e1"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
    ],
)
def test_scientific(value: float | None, shown: str) -> None:
    assert labels.scientific(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.05, "0.05"), (1e-5, "1e-5"), (3.0, "3"), (1.244e-6, "1.244e-6"), (2e9, "2e9")],
)
def test_bound(value: float, shown: str) -> None:
    assert labels.bound(value) == shown


def test_share_never_rounds_to_a_limit() -> None:
    shares = {0.0: "0%", 0.001: "<1%", 0.5: "50%", 0.999: ">99%", 1.0: "100%"}
    assert {part: labels.share(part) for part in shares} == shares


def test_the_code_of_the_divergence_and_its_change_are_said_everywhere(
    failing: ComparisonResult,
) -> None:
    texts = render(failing, ["html", "markdown", "text"])
    for name in ("html", "markdown"):
        assert "pkg/old.py:40" in texts[name]
        assert "pkg/x.py:7" in texts[name]
    for text in (*texts.values(), terminal_summary(failing)):
        assert "pkg/x.py (unified:vllm)" in text
    html = texts["html"]
    assert "patched/vllm-0.12.0: 25 patches + 2 modified files" in html
    assert "   41      x&lt;1" in html
    # The file that the first divergence runs comes first, and open.
    assert html.index('class="code" open><summary><code>pkg/x.py') < html.index(
        "<code>pkg/a.py"
    )


def test_a_tree_of_another_release_is_said_as_a_number(
    failing: ComparisonResult,
) -> None:
    far = dataclasses.replace(failing.changes[0], files=(), count=812)
    html = render(dataclasses.replace(failing, changes=(far,)), ["html"])["html"]
    assert "25 patches + 812 modified files" in html


def test_a_carried_tree_is_its_patches_and_its_edits(
    failing: ComparisonResult,
) -> None:
    given = dataclasses.replace(
        failing.provenance, sources={"fork": Source(given=True), "other": Source()}
    )
    html = render(dataclasses.replace(failing, provenance=given), ["html"])["html"]
    row = html.partition('<tr><th scope="row">fork</th>')[2].partition("</tr>")[0]
    assert "<td>patched/vllm-0.12.0: 25 patches + 2 modified files</td>" in row
    other = html.partition('<tr><th scope="row">other</th>')[2].partition("</tr>")[0]
    assert "not pinned" in other


def test_the_bound_shown_is_the_one_that_the_verdict_took(
    passing: ComparisonResult,
) -> None:
    row = next(row for row in passing.cases[0].layers if rows.limits(row))
    assert row.tolerance
    held = dataclasses.replace(row.tolerance, oracle_slack=2e-5, oracle_error=1.0)
    shown = {
        name: most
        for name, _, most in rows.limits(dataclasses.replace(row, tolerance=held))
    }
    assert row.metrics and row.metrics.old_oracle_error
    most = 1.25 * row.metrics.old_oracle_error + 2e-5
    assert shown["new_oracle_error"] == most
    assert rows.tolerance(held).count("1.25 times old vs oracle plus 2.00e-5") == 1
