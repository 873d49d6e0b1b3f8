# SPDX-License-Identifier: Apache-2.0
"""Progress is plain lines where nobody watches, and counts to its end."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mmparity.capture.job import Event
from mmparity.compare.case import compare_traces
from mmparity.run.plan import DEFAULT_DTYPES, Options, Plan
from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
from mmparity.workload.cases import DEFAULT_CASES
from mmparity.workload.pairs import DEFAULT_PAIRS

if TYPE_CHECKING:
    from conftest import Sides


def test_lines_without_a_terminal(sides: Sides) -> None:
    sides.new["merger"] += 1
    case = compare_traces(*sides.readers())
    stream = io.StringIO()
    with ProgressDisplay(3, Console(file=stream, highlight=False)) as display:
        for _ in range(2):  # of its packages, then of its weights
            display.event("unified", Event("loading"))
        display.event("unified", Event("captured", "image", "float32", 1.25))
        display.compared(case, 0.5)
        display.failed("[bold]it[/bold] could not run")
    text = stream.getvalue()
    assert text.count("unified: loading packages and weights") == 1
    assert "unified: image float32 captured in 1.2 s (2 steps left)" in text
    assert "FAIL  image/float32/old:new in 0.5 s: 1 of 11 hook points" in text
    assert "(1 step left)" in text
    assert "[bold]it[/bold] could not run" in text
    assert "\x1b" not in text


def test_the_reason_of_many_cases_is_said_once(sides: Sides) -> None:
    case = compare_traces(*sides.readers())
    stream = io.StringIO()
    with ProgressDisplay(3, Console(file=stream, highlight=False)) as display:
        display.failed("old could not run: no room\nIts log: old.log")
        for dtype in ("float32", "bfloat16"):
            told = replace(case, id=dtype, verdict="error")
            display.compared(replace(told, reason="old could not run: no room"), 0.0)
        display.compared(replace(case, verdict="error", reason="another"), 0.0)
    lines = stream.getvalue().splitlines()
    assert sum("no room" in line for line in lines) == 1
    assert [line.split("  ")[1] for line in lines[2:]] == [
        "ERROR float32 in 0.0 s (2 steps left)",
        "ERROR bfloat16 in 0.0 s (1 step left)",
        "ERROR image/float32/old:new in 0.0 s: another (0 steps left)",
    ]


PLAN = Plan(
    Options(out=Path("out")),
    DEFAULT_PAIRS,
    DEFAULT_CASES,
    DEFAULT_DTYPES,
    None,
)


def test_steps_are_captures_and_comparisons() -> None:
    cases, again = len(DEFAULT_CASES), 2
    without = cases * 5 * 2 + 3 * cases * 2 + again
    assert steps_of((PLAN,)) == without
    assert steps_of((replace(PLAN, trees={"hf": {}}),)) == without + cases


def test_the_plan_and_the_first_step_are_told_before_anything_runs() -> None:
    stream = io.StringIO()
    console = Console(file=stream, highlight=False)
    steps = steps_of((PLAN,))
    with ProgressDisplay(steps, console, told=plan_lines((PLAN,))):
        text = stream.getvalue()
    for old, new in DEFAULT_PAIRS:
        assert f"{old} : {new}" in text
    assert "float32, bfloat16; all blocks" in text
    assert f"{steps} steps; first, weights and pixels are made ready" in text
