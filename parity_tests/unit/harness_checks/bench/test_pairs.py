# SPDX-License-Identifier: Apache-2.0
"""How the figures of several pairs of processes become one result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness_checks.bench.conditions import conditions
from harness_checks.bench.costs import Growth, PairGrowth
from harness_checks.bench.pair_table import markdown
from harness_checks.bench.pairs import WINDOWS, measure_growth, measure_pair
from harness_checks.bench.sides import Setting
from harness_checks.bench.targets import Target
from mmparity.stored_json import plain

PAIR = ("old-encoder", "new-encoder")
SETTING = Setting("bfloat16", Path("checkpoint"), 2, Path("folder"), seconds=0.0)


class FakeSide:
    """Answers as a worker does; its process makes it slower by a factor."""

    def __init__(self, name: str, factor: float, asked: list[tuple[str, str]]) -> None:
        self.name, self.factor, self.asked = name, factor, asked

    def ask(self, ask: str, **request: Any) -> dict[str, Any]:
        self.asked.append((self.name, ask))
        new = self.name.startswith(("new", "unified"))
        if ask == "count":
            counts = {"reads": 0 if new else 2, "pads": 0, "cats": 0}
            calls = 10 if new else 40
            return {"calls": calls, "per_block": counts, "peak_bytes": 100}
        if ask == "growth":
            return {"bytes": 1 if new else 7, "objects": 0}
        seconds = {"load": 3.0, "gemms": 0.5}.get(ask, 0.8 if new else 1.0)
        answer = {"seconds": seconds * self.factor, "bytes": 50}
        return {**answer, "attention": 0.1 * self.factor} if ask == "time" else answer


class FakeSides:
    """Starts fake sides; the second process of an old side is the fastest.

    ``asked`` has the questions and ``started`` the sides, both in their order.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.started: list[Sequence[str]] = []
        self.factors = iter((1.2, 1.0, 1.5))

    @contextmanager
    def __call__(
        self, names: Sequence[str], setting: Setting
    ) -> Iterator[list[FakeSide]]:
        assert setting == SETTING
        self.started.append(names)
        slower = next(self.factors)
        factors = [slower if name == PAIR[0] else 1.0 for name in names]
        yield [
            FakeSide(name, factor, self.asked)
            for name, factor in zip(names, factors, strict=True)
        ]


@pytest.fixture
def sides() -> FakeSides:
    return FakeSides()


def test_the_least_of_all_processes_counts_and_every_ratio_is_kept(
    sides: FakeSides,
) -> None:
    said: list[str] = []
    found = measure_pair(PAIR, SETTING, 7, 3, said.append, sides)
    assert (found.old, found.new, found.dtype) == (*PAIR, "bfloat16")
    (item,) = found.inputs
    assert item.title == WINDOWS
    assert item.seconds == (1.0, 0.8)
    assert item.attention_seconds == (0.1, 0.1)
    assert item.gemm_seconds == 0.5
    assert item.calls == (40, 10)
    assert item.ratios == pytest.approx((0.8 / 1.5, 0.8 / 1.2, 0.8))
    assert found.load_seconds == (3.0, 3.0)
    assert [one.reads for one in found.per_block] == [2, 0]
    assert said[0] == "  processes 1 of 3: 0.667"


def test_every_side_is_asked_as_often_as_wanted_and_counted_once(
    sides: FakeSides,
) -> None:
    measure_pair(PAIR, SETTING, 7, 3, lambda line: None, sides)
    for name in PAIR:
        assert sides.asked.count((name, "time")) == 9
        assert sides.asked.count((name, "count")) == 1
    assert sides.asked.count(("old-encoder", "gemms")) == 0


def test_what_is_started_first_changes_from_pair_to_pair(sides: FakeSides) -> None:
    measure_pair(PAIR, SETTING, 3, 3, lambda line: None, sides)
    assert sides.started == [PAIR, PAIR[::-1], PAIR]
    assert [name for name, ask in sides.asked if ask == "time"] == [*PAIR] * 3


def test_growth_is_that_of_encoders_that_are_loaded(sides: FakeSides) -> None:
    found = measure_growth(SETTING, 5, 6, sides)
    assert found == PairGrowth(5, 6, old=Growth(7, 0), new=Growth(1, 0))
    assert [ask for _, ask in sides.asked] == ["load", "growth"] * 2


def test_what_has_no_options_has_conditions_too() -> None:
    found = plain(conditions("harness_checks.bench.stages", ["torch"]))
    assert found["command"].startswith("python -m harness_checks.bench.stages")
    assert (found["repeats"], found["threads"]) == (1, None)
    assert found["machine"]["cpus"] >= 1


def test_the_page_has_figures_and_targets_with_their_origin(
    sides: FakeSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bench", "--repeats", "7", "--json", "somebody/figures.json"]
    monkeypatch.setattr(sys, "argv", words)
    found = measure_pair(PAIR, SETTING, 7, 3, lambda line: None, sides)
    given = conditions(
        "harness_checks.bench", ["torch"], repeats=7, processes=3, threads=2
    )
    text = markdown([found], [Target("time", 0.8, 0.9), Target("reads", 2, 0)], given)
    assert text.startswith("`python -m harness_checks.bench --repeats 7`, 20")
    assert "3 pairs of processes" in text
    assert "somebody" not in text
    assert f"| {WINDOWS} | 1.000 | 0.800 | 0.800 (0.53 to 0.80) | 1.00 | 1.60 |" in text
    assert "Targets, 1 of 2 met:" in text
    assert "| reads | 2 | 0 | missed |" in text
