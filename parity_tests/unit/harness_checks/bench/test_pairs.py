# SPDX-License-Identifier: Apache-2.0
"""How the figures of several pairs of processes become one result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness_checks.bench import pairs
from harness_checks.bench.conditions import conditions
from harness_checks.bench.pair_table import markdown
from harness_checks.bench.pairs import WINDOWS, measure_growth, measure_pair
from harness_checks.bench.sides import Setting
from harness_checks.bench.targets import Target

PAIR = ("old-encoder", "new-encoder")
SETTING = Setting("bfloat16", Path("checkpoint"), 2, Path("folder"))


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Questions in their order; the second process of a side is the fastest."""
    questions: list[tuple[str, str]] = []
    factors = {name: iter((1.2, 1.0, 1.5)) for name in PAIR}

    @contextmanager
    def sides(names: Sequence[str], setting: Setting) -> Iterator[list[FakeSide]]:
        assert setting == SETTING
        factor = {name: next(factors.get(name, iter((1.0,)))) for name in names}
        factor["new-encoder"] = 1.0
        yield [FakeSide(name, factor[name], questions) for name in names]

    monkeypatch.setattr(pairs, "sides", sides)
    monkeypatch.setattr(pairs, "SECONDS", 0.0)
    return questions


def test_the_least_of_all_processes_counts_and_every_ratio_is_kept(
    asked: list[tuple[str, str]],
) -> None:
    said: list[str] = []
    found = measure_pair(PAIR, SETTING, 7, 3, said.append)
    assert (found["old"], found["new"], found["dtype"]) == (*PAIR, "bfloat16")
    (item,) = found["inputs"]
    assert item["title"] == WINDOWS
    assert item["seconds"] == [1.0, 0.8]
    assert item["attention_seconds"] == [0.1, 0.1]
    assert item["gemm_seconds"] == 0.5
    assert item["calls"] == [40, 10]
    assert item["ratios"] == pytest.approx([0.8 / 1.5, 0.8 / 1.2, 0.8])
    assert found["load_seconds"] == [3.0, 3.0]
    assert [one["reads"] for one in found["per_block"]] == [2, 0]
    assert said[0] == "  processes 1 of 3: 0.667"


def test_every_side_is_asked_as_often_as_wanted_and_counted_once(
    asked: list[tuple[str, str]],
) -> None:
    measure_pair(PAIR, SETTING, 7, 3, lambda line: None)
    for name in PAIR:
        assert asked.count((name, "time")) == 9
        assert asked.count((name, "count")) == 1
    assert asked.count(("old-encoder", "gemms")) == 0


def test_what_is_started_first_changes_from_pair_to_pair(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str]]
) -> None:
    started: list[Sequence[str]] = []
    plain = pairs.sides

    def noted(names: Sequence[str], setting: Setting) -> Any:
        started.append(names)
        return plain(names, setting)

    monkeypatch.setattr(pairs, "sides", noted)
    measure_pair(PAIR, SETTING, 3, 3, lambda line: None)
    assert started == [PAIR, PAIR[::-1], PAIR]
    assert [name for name, ask in asked if ask == "time"] == [*PAIR] * 3


def test_growth_is_that_of_encoders_that_are_loaded(
    asked: list[tuple[str, str]],
) -> None:
    found = measure_growth(SETTING, 5, 6)
    assert found["sizes"] == 5 and found["forwards"] == 6
    assert found["old"]["bytes"] == 7 and found["new"]["bytes"] == 1
    assert [ask for _, ask in asked] == ["load", "growth"] * 2


def test_the_page_has_figures_and_targets_with_their_origin(
    asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bench", "--repeats", "7", "--json", "somebody/figures.json"]
    monkeypatch.setattr(sys, "argv", words)
    found = measure_pair(PAIR, SETTING, 7, 3, lambda line: None)
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
