# SPDX-License-Identifier: Apache-2.0
"""`mmparity year` around a run that is not made: where its page goes, and its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Some

import pytest
from click.testing import CliRunner, Result

from mmparity.cli import main
from mmparity.report import year as reading
from mmparity.report import year_chart, year_page
from mmparity.run import execute as execution

pytestmark = pytest.mark.usefixtures("source_trees")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Says what happens in place of the run."""

    def replace_by(work: Callable[[], object]) -> None:
        monkeypatch.setattr(execution, "execute", lambda *_: work())

    return replace_by


def done_with(*errors: str) -> object:
    """As much of a result as is asked before it is read."""
    return Some(provenance=Some(errors=errors))


def year(*words: str) -> Result:
    given = ["year", "--impl", "vllm-0.12.0", "--out", "out", *words]
    return CliRunner().invoke(main, given, obj="no workers")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("taken", "taken cannot be written to: Is a directory. "),
        ("file/page.md", "file cannot be written to: File exists. "),
        ("drawn/page.md", "drawn/images cannot be written to: File exists. "),
        ("chart/page.md", "chart/images/a-year.svg cannot be written to: Is a dir"),
        ("new/images", "new/images cannot be written to: Is a directory. "),
        (f"{'x' * 250}.md", "cannot be written to: File name too long. "),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_the_run(
    folder: Path,
    during: Callable[[Callable[[], object]], None],
    page: str,
    said: str,
) -> None:
    during(lambda: pytest.fail("it was run"))
    (folder / "taken").mkdir()
    (folder / "chart" / "images" / "a-year.svg").mkdir(parents=True)
    (folder / "drawn").mkdir()
    for file in ("file", "drawn/images"):
        (folder / file).write_text("a file")
    before = sorted(folder.rglob("*"))
    done = year("--page", page)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.endswith("Name another file with --page.\n")
    assert sorted(folder.rglob("*")) == before


def test_without_page_it_is_out_that_cannot_be_written(
    folder: Path, during: Callable[[Callable[[], object]], None]
) -> None:
    during(lambda: pytest.fail("it was run"))
    (folder / "out" / "a-year.md").mkdir(parents=True)
    done = year()
    assert done.exit_code == 2
    assert done.stderr.endswith("Is a directory. Name another folder with --out.\n")


def test_a_page_that_is_taken_during_the_run_leaves_the_chart_as_it_was(
    folder: Path,
    during: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken() -> object:
        (folder / "page.md").mkdir()
        return done_with()

    during(taken)
    monkeypatch.setattr(reading, "releases", lambda *_: (reading.Release("a"),))
    monkeypatch.setattr(year_page, "page", lambda *_: "page")
    monkeypatch.setattr(year_chart, "chart", lambda *_: "new")
    chart = folder / "images" / "a-year.svg"
    chart.parent.mkdir()
    chart.write_text("old")
    done = year("--page", "page.md")
    assert done.exit_code == 2
    assert "page.md cannot be written to: Is a directory. Name ano" in done.stderr
    assert done.stderr.endswith("another file with --page.\n")
    assert chart.read_text() == "old"
    assert list(chart.parent.iterdir()) == [chart]


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ((execution.INTERRUPTED,), "interrupted"),
        ((), "nothing could run: its tree is broken"),
    ],
    ids=["interrupted", "broken"],
)
def test_a_run_that_ends_without_a_page_says_what_is_left_and_what_makes_one(
    folder: Path,
    during: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    errors: tuple[str, ...],
    why: str,
) -> None:
    during(lambda: done_with(*errors))
    lost = reading.Release("a", failed="its tree is broken.")
    monkeypatch.setattr(reading, "releases", lambda *_: (lost,))
    monkeypatch.setattr(sys, "argv", ["bin/mmparity", "year", "--page", "a page"])
    done = year()
    assert done.exit_code == 2
    assert done.stderr.endswith(
        f"mmparity: {why}. There is no page. `mmparity report out` shows how far the "
        "run came. A page needs a whole run, and none of its captures are kept: "
        "`mmparity year --page 'a page'` begins anew.\n"
    )
