# SPDX-License-Identifier: Apache-2.0
"""Every second of a run belongs to one stage, and workers count their own."""

from __future__ import annotations

from mmparity.capture.job import Event
from mmparity.run.stage_clock import StageClock, stage_of
from mmparity.types.stages import WorkerSeconds


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_what_is_waited_for_adds_up_and_the_oracle_is_a_stage_of_its_own() -> None:
    hands = Hands()
    clock = StageClock(hands)
    for spent, lap in (
        (2.0, lambda: clock.lap("prepare")),
        (3.0, lambda: clock.waited("hf", "build")),
        (4.0, lambda: clock.waited("hf", "capture")),
        (5.0, lambda: clock.waited("unified", "import")),
        (5.5, lambda: clock.answered("unified", Event("noted"))),  # of the next step
        (0.5, lambda: clock.answered("unified", Event("captured"))),
        (7.0, lambda: clock.lap("compare")),
        (8.0, lambda: clock.waited("unified", "capture")),
    ):
        hands.at += spent
        lap()
    assert clock.stages().seconds == {
        "prepare": 2.0,
        "import": 5.0,
        "oracle": 7.0,
        "capture": 14.0,
        "compare": 7.0,
    }


def test_a_worker_counts_what_it_did_and_not_that_it_waited_for_its_turn() -> None:
    clock = StageClock()
    for event in (
        Event("loading", at=10.0),
        Event("imported", seconds=12.5, at=60.0),
        Event("loading", dtype="float32", at=61.0),
        Event("noted", message="said by the parent, which has no such clock"),
        Event("loaded", dtype="float32", at=64.0),
        Event("capturing", "image", "float32", at=65.0),
        Event("captured", "image", "float32", at=72.0),
        Event("done", at=73.0),
        Event("loading", at=500.0),  # of the next batch, in a process of its own
        Event("imported", seconds=1.5, at=501.0),
        Event("loading", dtype="float32", at=502.0),
    ):
        clock.noted("unified", event)
    assert clock.stages().workers == {"unified": WorkerSeconds(14.0, 6.0, 8.0)}


def test_what_a_worker_says_ends_a_stage() -> None:
    assert stage_of(Event("loading")) == "import"
    assert stage_of(Event("loading", dtype="float32")) == "build"
    assert stage_of(Event("captured")) == stage_of(Event("done")) == "capture"
