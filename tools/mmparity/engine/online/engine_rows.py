# SPDX-License-Identifier: Apache-2.0
"""What serving showed, in the engine's result: a row for each run, and the speed."""

from __future__ import annotations

from dataclasses import replace

from mmparity.engine.offline.result import summarise
from mmparity.engine.online.types import (
    BenchResult,
    ServeResult,
    ServingResult,
    StreamVerdict,
)
from mmparity.types.engine import EngineResult, EngineRow, EngineSpeed
from mmparity.types.verdict import worst


def with_serving(result: EngineResult, served: ServeResult) -> EngineResult:
    """The engine's result with that of the servers; the worse verdict counts."""
    rows = (*result.rows, *rows_of(served))
    return replace(
        result,
        verdict=worst((result.verdict, served.verdict)),
        summary=summarise(rows),
        rows=rows,
        speed=(*result.speed, *speed_of(served)),
    )


def without_serving(result: EngineResult, reason: str) -> EngineResult:
    """The engine's result where the servers could not be asked."""
    return replace(result, verdict="error", errors=(*result.errors, reason))


def rows_of(served: ServeResult) -> list[EngineRow]:
    """One for each run, its reason where it is not the same."""
    found = []
    for name, run in served.runs.items():
        tokens = run.summary.compared_tokens
        note = f"{run.reason}; {run.settings.concurrency} at a time"
        row = _row(served, f"vllm serve, {name}", run, note)
        difference = run.summary.largest_logprob_difference
        found.append(
            replace(row, tokens=tokens, logprobs=tokens, logprob_difference=difference)
        )
    for side, part in served.across.items():
        found.append(_row(served, f"{side}: streamed, not streamed", part))
    if served.bench:
        found.append(_row(served, "vllm bench serve", served.bench))
    return found


def speed_of(served: ServeResult) -> list[EngineSpeed]:
    """Of both sides, of each run."""
    found = []
    for name, run in served.runs.items():
        for side, who in (("old", served.old), ("new", served.new)):
            figures = run.sides[side]
            first, each = figures.first_token_seconds, figures.per_token_seconds
            found.append(
                EngineSpeed(
                    who,
                    f"{served.model}, {name}",
                    figures.answered,
                    figures.requests_per_second,
                    figures.tokens_per_second,
                    first.p50 if first else None,
                    each.p50 if each else None,
                )
            )
    return found


def _row(
    served: ServeResult,
    scenario: str,
    part: ServingResult | StreamVerdict | BenchResult,
    note: str = "",
) -> EngineRow:
    passed = part.verdict == "pass"
    return EngineRow(
        served.model,
        scenario,
        served.old,
        served.new,
        part.verdict,
        reason="" if passed else part.reason,
        notes=(note or part.reason,) if passed else (),
    )
