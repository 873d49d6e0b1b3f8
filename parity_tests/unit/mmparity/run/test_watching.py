# SPDX-License-Identifier: Apache-2.0
"""A watch captures what an edit touches, and judges it as a whole run would."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.capture.job import Event
from mmparity.compare.result import read_result
from mmparity.engine.offline.result import build
from mmparity.engine.offline.result import write_result as write_engine
from mmparity.processes import Command
from mmparity.run.plan import Options
from mmparity.run.planning import make_plan
from mmparity.run.watching import Watch
from mmparity.types.comparison import CaseComparison
from mmparity.types.engine import EngineRow
from mmparity.types.evidence import TreeChanges
from mmparity.workload import implementations

COMMAND = Command((sys.executable, str(Path(__file__).parents[1] / "fake_worker.py")))
HF = implementations.IMPLEMENTATIONS["hf"]
SIDE = replace(HF, oracle=False, trees={"vllm": "unused"})
IMPLEMENTATIONS = {"hf": HF} | {
    name: replace(SIDE, name=name) for name in ("good", "new", "differs")
}


class Recorder:
    def __init__(self) -> None:
        self.captured: list[str] = []
        self.compared_ids: list[str] = []

    def event(self, implementation: str, event: Event) -> None:
        if event.event == "captured":
            self.captured.append(implementation)

    def compared(self, case: CaseComparison, seconds: float) -> None:
        self.compared_ids.append(case.id)

    def failed(self, message: str) -> None:
        raise AssertionError(message)


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}-tree" for name in ("good", "new")}
    for tree in found.values():
        (tree / "vllm").mkdir(parents=True)
        (tree / "vllm" / "__init__.py").touch()
    return found


@pytest.fixture
def session(
    trees: dict[str, Path], checkpoint: Path, ready_traces: None, tmp_path: Path
) -> Watch:
    options = Options(
        out=tmp_path / "out",
        old="good",
        new="new",
        cases=("image", "ragged"),
        dtypes=("float32",),
        checkpoint=checkpoint,
        trees=tuple(f"{name}:vllm={tree}" for name, tree in trees.items()),
        keep_traces=True,
        expect="identical",
    )
    return Watch((make_plan(options, IMPLEMENTATIONS),), COMMAND)


def test_only_the_side_that_was_edited_is_captured_again(
    session: Watch, trees: dict[str, Path], tmp_path: Path
) -> None:
    first = session.first(Recorder())
    assert first.verdict == "pass"
    assert session.touched([trees["new"] / "vllm" / "layer.py"]) == {"new"}
    watcher = Recorder()
    again = session.again(watcher)
    assert Counter(watcher.captured) == {"new": 2}
    assert [case.id for case in again.cases] == [case.id for case in first.cases]
    assert again.summary == first.summary
    assert read_result(tmp_path / "out") == again


def test_what_lies_beside_the_pairs_is_in_the_result_of_every_edit(
    session: Watch,
    trees: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def changed(place: str, folder: Path, *_: object) -> TreeChanges:
        return TreeChanges(place, folder.name, "unused", 0, (), 1)

    monkeypatch.setattr("mmparity.run.code_of_run.changes_of", changed)
    row = EngineRow("qwen2-vl", "one image", "old", "new", "fail")
    (tmp_path / "out").mkdir()
    write_engine(build([row], [], {}, (), {}), tmp_path / "out")
    first = session.first(Recorder())
    session.touched([trees["new"] / "vllm" / "layer.py"])
    again = session.again(Recorder())
    assert (first.verdict, again.verdict) == ("fail", "fail")
    assert again.changes == first.changes
    assert {change.tree for change in again.changes} >= {"good:vllm", "new:vllm"}
    assert again.since and again.since.verdict == "fail"
    assert read_result(tmp_path / "out") == again


def test_files_of_no_tree_touch_nothing(session: Watch, tmp_path: Path) -> None:
    assert session.touched([tmp_path / "notes.py"]) == set()


def test_pairs_that_an_edit_does_not_touch_stay_as_they_were_judged(
    session: Watch, trees: dict[str, Path], tmp_path: Path
) -> None:
    plan = session.plans[0]
    third = {**plan.trees, "differs": {"vllm": str(tmp_path / "third")}}
    pairs = (*plan.pairs, ("good", "differs"))
    defaults = {**plan.default_trees, "differs": dict(SIDE.trees)}
    plan = replace(plan, pairs=pairs, trees=third, default_trees=defaults)
    session.plans = (plan,)
    assert session.first(Recorder()).verdict == "fail"
    session.touched([trees["new"] / "vllm" / "layer.py"])
    watcher = Recorder()
    again = session.again(watcher)
    assert {text.rpartition("/")[2] for text in watcher.compared_ids} == {"good:new"}
    assert (again.verdict, len(again.cases)) == ("fail", 4)


def test_sides_that_broke_are_captured_with_the_next_edit_of_any(
    session: Watch, trees: dict[str, Path]
) -> None:
    session.starter = Command((sys.executable, "-c", "raise SystemExit(3)"))
    assert session.first(Quiet()).verdict == "error"
    session.starter = COMMAND
    session.touched([trees["new"] / "vllm" / "layer.py"])
    watcher = Recorder()
    assert session.again(watcher).verdict == "pass"
    assert Counter(watcher.captured) == {"hf": 2, "good": 2, "new": 2}


class Quiet(Recorder):
    def failed(self, message: str) -> None:
        pass
