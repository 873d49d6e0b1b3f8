# SPDX-License-Identifier: Apache-2.0
"""vLLM's whole engine on either side: the same answers, memory held, speed."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from mmparity.report import labels
from mmparity.report.memory_chart import memory_chart
from mmparity.types.engine import EngineMemory, EngineResult, EngineRow, EngineSpeed

LIST_LIMIT = 300


@dataclass(frozen=True)
class AnswerView:
    """One scenario on both sides."""

    verdict: str
    scenario: str
    model: str
    pair: str
    compared: str
    difference: str
    said: str
    """Reason and notes."""


@dataclass(frozen=True)
class MemoryView:
    """The figures of one model: a line for each moment, a column for each side."""

    title: str
    sides: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    verdicts: tuple[str, ...]
    chart: Markup


@dataclass(frozen=True)
class EngineView:
    """All that is known of the engine."""

    verdict: str
    headline: str
    answers: tuple[AnswerView, ...]
    cut: int
    memory: tuple[MemoryView, ...]
    speed_columns: tuple[str, ...]
    speed: tuple[tuple[str, tuple[str, ...]], ...]
    errors: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]


SPEED_COLUMNS = (
    "requests",
    "requests/s",
    "tokens/s",
    "first token",
    "token to token",
)


def engine(result: EngineResult | None) -> EngineView | None:
    """Returns what the engine showed; None where it did not run."""
    if result is None:
        return None
    ordered = sorted(result.rows, key=lambda row: row.verdict in ("pass", "cannot run"))
    by_model: dict[str, list[EngineMemory]] = {}
    for item in result.memory:
        by_model.setdefault(item.figures.model, []).append(item)
    return EngineView(
        verdict=result.verdict,
        headline=_headline(result),
        answers=tuple(map(_answer, ordered[:LIST_LIMIT])),
        cut=max(0, len(ordered) - LIST_LIMIT),
        memory=tuple(
            _memory(model, f"memory-{number}", members)
            for number, (model, members) in enumerate(by_model.items(), 1)
        ),
        speed_columns=SPEED_COLUMNS,
        speed=tuple(map(_speed, result.speed)),
        errors=tuple(labels.clean(text, 600) for text in result.errors),
        runs=tuple(
            (labels.clean(side, 80), labels.clean("; ".join(said), 400))
            for side, said in result.runs.items()
        ),
    )


def _headline(result: EngineResult) -> str:
    s = result.summary
    parts = [f"{s.passed:,} of {labels.count(s.total, 'scenario')} the same"]
    if s.failed:
        parts.append(f"{s.failed:,} differ")
    if s.errors:
        parts.append(f"{s.errors:,} could not be judged")
    if s.cannot_run:
        parts.append(f"{s.cannot_run:,} refused by a side, as declared")
    leaks = sum(item.verdict == "fail" for item in result.memory)
    if leaks:
        parts.append(f"memory fails on {labels.count(leaks, 'side')}")
    return ", ".join(parts)


def _answer(row: EngineRow) -> AnswerView:
    nouns = ("token", "logprob", "embedding")
    counts = (row.tokens, row.logprobs, row.embeddings)
    compared = ", ".join(map(labels.count, counts, nouns))
    difference = "equal bits" if row.exact else ""
    if not row.exact and row.logprob_difference is not None:
        difference = (
            f"logprobs {labels.scientific(row.logprob_difference)}, "
            f"embeddings {labels.scientific(row.embedding_difference)}"
        )
    return AnswerView(
        verdict=row.verdict,
        scenario=labels.clean(row.scenario),
        model=labels.clean(row.model, 80),
        pair=labels.clean(f"{row.old} → {row.new}"),
        compared=compared if any(counts) else "nothing",
        difference=difference,
        said=labels.clean("; ".join(filter(None, (row.reason, *row.notes))), 600),
    )


def _memory(model: str, name: str, items: list[EngineMemory]) -> MemoryView:
    moments = dict.fromkeys(moment for item in items for moment in item.figures.held)
    return MemoryView(
        title=labels.clean(model, 80),
        sides=tuple(labels.clean(item.figures.side, 80) for item in items),
        lines=tuple(
            (
                labels.clean(moment),
                tuple(_held(item.figures.held.get(moment)) for item in items),
            )
            for moment in moments
        ),
        verdicts=tuple(map(_grown, items)),
        chart=memory_chart(
            [item.figures for item in items], labels.clean(model, 80), name
        ),
    )


def _held(held: dict[str, int] | None) -> str:
    """What cached embeddings keep alive, and the whole process."""
    if held is None:
        return "no such call"
    size = labels.bytes_(held.get("held_bytes", 0))
    entries = labels.count(held.get("entries", 0), "entry", "entries")
    resident = labels.bytes_(held.get("resident_bytes", 0))
    return f"{size} by {entries}; resident {resident}"


def _grown(item: EngineMemory) -> str:
    grown = "not measured" if item.growth is None else f"{item.growth:+.2%}"
    allowed = "" if item.allowed is None else f", up to {item.allowed:.0%} allowed"
    words = {"pass": "✓ PASS", "fail": "✗ FAIL"}
    verdict = words.get(item.verdict, labels.clean(item.verdict, 20))
    reason = f": {labels.clean(item.reason, 300)}" if item.reason else ""
    return f"{grown}{allowed}; {verdict}{reason}"


def _speed(item: EngineSpeed) -> tuple[str, tuple[str, ...]]:
    rates = item.requests_per_second, item.tokens_per_second
    times = item.first_token_seconds, item.token_seconds
    return (
        labels.clean(f"{item.side}, {item.model}", 160),
        (
            f"{item.requests:,}",
            *("n/a" if rate is None else f"{rate:.4g}" for rate in rates),
            *("n/a" if t is None else f"{t * 1000:.3g} ms" for t in times),
        ),
    )
