# SPDX-License-Identifier: Apache-2.0
"""What serving showed stands in the engine's result, and counts there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmparity.cli import main
from mmparity.engine.online.engine_rows import with_serving
from mmparity.engine.online.types import (
    BenchResult,
    EndpointFigures,
    Percentiles,
    ServeResult,
    ServingResult,
    ServingSummary,
    Settings,
    StreamVerdict,
)
from mmparity.errors import MmparityError
from mmparity.types.engine import EngineResult, EngineSummary
from mmparity.types.provenance import Provenance
from mmparity.types.verdict import Verdict

NOTHING = EngineResult(
    "pass", EngineSummary(0, 0, 0, 0, 0), (), (), {}, (), Provenance()
)


def figures(stream: bool, requests_per_second: float) -> EndpointFigures:
    return EndpointFigures(
        *("http://x/v1", "small", "token ids", ""),
        *(9, 9, 0, 0, 3.0, requests_per_second, 48.0),
        first_token_seconds=Percentiles(0.3, 0.25, 0.4, 0.5) if stream else None,
        per_token_seconds=Percentiles(0.02, 0.01, 0.03, 0.04) if stream else None,
        total_seconds=None,
    )


def run(verdict: Verdict, stream: bool) -> ServingResult:
    return ServingResult(
        *(verdict, "as it was", "token ids", False, Settings(concurrency=4)),
        summary=ServingSummary(9, 0, 0, 0, 9, 9, 9, 9, 144, 1e-6, 1e-6),
        sides={"old": figures(stream, 3.0), "new": figures(stream, 5.0)},
        answers=(),
    )


def served(verdict: Verdict = "pass") -> ServeResult:
    part = StreamVerdict("pass", "9 answers are the same")
    return ServeResult(
        *("vllm-0.12.0", "unified", "small"),
        runs={"streamed": run("pass", True), "not streamed": run(verdict, False)},
        across={"old": part, "new": part},
        bench=BenchResult("pass", "9 answers are the same", 9, {}),
        verdict=verdict,
    )


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
def test_what_is_not_the_same_there_is_not_the_same_here(verdict: Verdict) -> None:
    result = with_serving(NOTHING, served(verdict))
    assert result.verdict == verdict
    assert [row.verdict for row in result.rows].count(verdict) == 1
    assert result.rows[1].reason == "as it was"


def test_what_the_engine_showed_is_kept_where_serving_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> ServeResult:
        raise MmparityError("the port is in use")

    monkeypatch.setattr("mmparity.engine.offline.run.execute", lambda *_: NOTHING)
    monkeypatch.setattr("mmparity.engine.online.serve.serve_small", fails)
    done = CliRunner().invoke(main, ["engine", "--serve", "9", "--out", str(tmp_path)])
    assert done.exit_code == 2, done.output
    raw = json.loads((tmp_path / "engine.json").read_text())
    assert raw["verdict"] == "error"
    assert raw["errors"] == ["vllm serve: the port is in use"]
    assert "the port is in use" in done.output
