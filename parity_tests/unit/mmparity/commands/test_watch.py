# SPDX-License-Identifier: Apache-2.0
"""A watch sees what is saved from its first second on, and ends with Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.commands.watch import changes, follow
from mmparity.compare.result import build_result
from mmparity.run.execute import INTERRUPTED
from mmparity.types.comparison import ComparisonResult
from mmparity.types.provenance import Provenance

JUDGED = build_result([], Provenance())
ENDED = replace(JUDGED, provenance=Provenance(errors=(INTERRUPTED,)))


class Session:
    """One whose first run does what a test says, and whose second one is the last."""

    def __init__(self, tree: Path, during: Callable[[], object]) -> None:
        self.trees, self.during = {tree: {"new"}}, during
        self.seen: list[Path] = []

    def touched(self, files: Iterable[Path]) -> set[str]:
        self.seen += files
        return {"new"} if self.seen else set()

    def first(self, watcher: None) -> ComparisonResult:
        self.during()
        return JUDGED

    def again(self, watcher: None) -> ComparisonResult:
        return ENDED


@pytest.mark.timeout(30)
def test_what_is_saved_during_the_first_run_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "layer.py"
    session = Session(tmp_path, lambda: file.write_text("a = 1\n"))
    assert follow(session, lambda run: run(None)) == ENDED
    assert session.seen == [file]


@pytest.mark.timeout(30)
def test_a_first_run_that_was_interrupted_is_the_last(tmp_path: Path) -> None:
    session = Session(tmp_path, lambda: None)
    assert follow(session, lambda run: ENDED) == ENDED


@pytest.mark.timeout(30)
def test_only_files_of_python_are_edits(tmp_path: Path) -> None:
    edits = changes([tmp_path])
    assert next(edits) == []
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "layer.py").write_text("x")
    assert next(files for files in edits if files) == [tmp_path / "layer.py"]
    edits.close()
