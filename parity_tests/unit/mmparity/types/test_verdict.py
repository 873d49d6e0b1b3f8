# SPDX-License-Identifier: Apache-2.0
"""Which of several verdicts counts, in every place that has several."""

from __future__ import annotations

import itertools

import pytest

from mmparity.engine.offline.result import build
from mmparity.engine.online.engine_rows import with_serving
from mmparity.engine.online.serve import verdict_of
from mmparity.types.engine import EngineRow
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
    parts = [{"verdict": verdict, "reason": verdict} for verdict in two]
    across = dict(zip(("old", "new"), parts, strict=True))
    data = {"runs": {}, "streamed against not": across}
    data |= {"old": "vllm-0.12.0", "new": "unified", "model": "m"}
    verdict, reason = verdict_of(data)
    assert verdict == worst(two)
    assert worst(two) in reason
    row = EngineRow("m", "one image", "vllm-0.12.0", "unified", two[0])
    engine = build([row], [], {}, (), {})
    served = {**data, "verdict": two[1], "streamed against not": {"new": parts[1]}}
    both = with_serving(engine, served)
    assert both.verdict == worst(two)
    counted = both.summary
    assert (counted.passed, counted.failed, counted.errors) == tuple(
        two.count(verdict) for verdict in EXIT_CODES
    )
