# SPDX-License-Identifier: Apache-2.0
"""Which of several verdicts counts, in every place that has several."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mmparity.engine.offline.result import build
from mmparity.engine.online.engine_rows import with_serving
from mmparity.engine.online.serve import with_verdict
from mmparity.engine.online.types import ServeResult, StreamVerdict
from mmparity.types.engine import EngineRow
from mmparity.types.provenance import Provenance
from mmparity.types.verdict import EXIT_CODES, Verdict, worst

TWO = list(itertools.product(EXIT_CODES, repeat=2))


@pytest.mark.parametrize("two", TWO)
def test_the_worse_of_two_wins_in_any_order(two: tuple[Verdict, Verdict]) -> None:
    assert EXIT_CODES[worst(two)] == max(EXIT_CODES[one] for one in two)
    assert worst(two) == worst(reversed(two))


def test_of_none_nothing_was_judged() -> None:
    assert worst(()) == "error"


def test_what_is_no_verdict_is_not_taken_for_a_pass() -> None:
    with pytest.raises(KeyError):
        worst(("pass", "shown"))


@pytest.mark.parametrize("two", TWO)
def test_serving_and_engine_agree_on_the_worse(two: tuple[Verdict, Verdict]) -> None:
    old, new = (StreamVerdict(verdict, verdict) for verdict in two)
    served = ServeResult("vllm-0.12.0", "unified", "m", across={"old": old, "new": new})
    judged = with_verdict(served)
    assert judged.verdict == worst(two)
    assert worst(two) in judged.reason
    row = EngineRow("m", "one image", "vllm-0.12.0", "unified", two[0])
    engine = build([row], [], {}, (), Provenance())
    served = replace(served, verdict=two[1], across={"new": new})
    both = with_serving(engine, served)
    assert both.verdict == worst(two)
    counted = both.summary
    assert (counted.passed, counted.failed, counted.errors) == tuple(
        two.count(verdict) for verdict in EXIT_CODES
    )
