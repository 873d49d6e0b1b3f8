# SPDX-License-Identifier: Apache-2.0
"""What serving showed stands in the engine's result, and counts there."""

from __future__ import annotations

from typing import Any

import pytest

from mmparity.engine.online.engine_rows import with_serving
from mmparity.types.engine import EngineResult, EngineSummary
from mmparity.types.provenance import Provenance

NOTHING = EngineResult(
    "pass", EngineSummary(0, 0, 0, 0, 0), (), (), {}, (), Provenance()
)


def run(verdict: str, stream: bool) -> dict[str, Any]:
    figures = {
        "answered": 9,
        "requests_per_second": 3.0,
        "tokens_per_second": 48.0,
        "first_token_seconds": {"p50": 0.25} if stream else None,
        "per_token_seconds": {"p50": 0.01} if stream else None,
    }
    return {
        "verdict": verdict,
        "reason": "as it was",
        "settings": {"concurrency": 4},
        "summary": {"compared_tokens": 144, "largest_logprob_difference": 1e-6},
        "sides": {"old": figures, "new": {**figures, "requests_per_second": 5.0}},
    }


def served(verdict: str = "pass") -> dict[str, Any]:
    part = {"verdict": "pass", "reason": "9 answers are the same"}
    return {
        "old": "vllm-0.12.0",
        "new": "unified",
        "model": "small",
        "verdict": verdict,
        "runs": {"streamed": run("pass", True), "not streamed": run(verdict, False)},
        "streamed against not": {"old": part, "new": part},
        "bench": part,
    }


def test_runs_are_rows_and_speeds() -> None:
    result = with_serving(NOTHING, served())
    assert result.verdict == "pass" and result.summary.passed == len(result.rows) == 5
    first = result.rows[0]
    assert (first.scenario, first.old, first.new) == (
        "vllm serve, streamed",
        "vllm-0.12.0",
        "unified",
    )
    assert (first.tokens, first.logprob_difference) == (144, 1e-6)
    old, new, *_ = result.speed
    assert (old.side, old.requests_per_second, old.first_token_seconds) == (
        "vllm-0.12.0",
        3.0,
        0.25,
    )
    assert (new.side, new.requests_per_second) == ("unified", 5.0)
    assert result.speed[-1].first_token_seconds is None


@pytest.mark.parametrize("verdict", ["fail", "error"])
def test_what_is_not_the_same_there_is_not_the_same_here(verdict: str) -> None:
    result = with_serving(NOTHING, served(verdict))
    assert result.verdict == verdict
    assert [row.verdict for row in result.rows].count(verdict) == 1
    assert result.rows[1].reason == "as it was"
