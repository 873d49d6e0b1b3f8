# SPDX-License-Identifier: Apache-2.0
"""A comparison of endpoints -> `serving.json`, the source of every report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmparity.engine.online.types import (
    DETAILS,
    Answer,
    Comparison,
    EndpointFigures,
    Judged,
    Measured,
    Percentiles,
    ServingResult,
    ServingSummary,
)
from mmparity.files import write_text
from mmparity.stored_json import plain, to_json
from mmparity.types.verdict import Verdict

FILE = "serving.json"
PERCENTILES = (50, 95, 99)


def build(comparison: Comparison) -> ServingResult:
    """Verdict, counts and figures of both sides."""
    verdict, reason = judgement(comparison)
    stream = comparison.settings.stream
    return ServingResult(
        verdict=verdict,
        reason=reason,
        compared_by=comparison.detail,
        interrupted=comparison.interrupted,
        settings=comparison.settings,
        summary=_summary(comparison.judged, comparison.settings.requests),
        sides={
            "old": _side(comparison.old, stream),
            "new": _side(comparison.new, stream),
        },
        answers=comparison.judged,
    )


def as_data(result: ServingResult) -> Any:
    """What `serving.json` stores, without the images."""
    return {**plain(result), "answers": [_stored(item) for item in result.answers]}


def _summary(judged: Sequence[Judged], asked: int) -> ServingSummary:
    counts = Counter[str](item.verdict for item in judged)
    questions = {(item.question.image, item.question.prompt) for item in judged}
    return ServingSummary(
        same=counts["same"],
        near_tie=counts["near tie"],
        differ=counts["differ"],
        error=counts["error"],
        compared=len(judged),
        asked=asked,
        distinct_questions=len(questions),
        distinct_answers=len({item.old.text for item in judged}),
        compared_tokens=sum(item.compared_tokens for item in judged),
        largest_logprob_difference=_largest(
            item.largest_logprob_difference for item in judged
        ),
        largest_top_logprob_difference=_largest(
            item.largest_top_logprob_difference for item in judged
        ),
    )


def judgement(comparison: Comparison) -> tuple[Verdict, str]:
    """The verdict and why; nothing that was not compared passes."""
    judged = comparison.judged
    counts = Counter(item.verdict for item in judged)
    if counts["differ"]:
        first = next(item for item in judged if item.verdict == "differ")
        return "fail", (
            f"{counts['differ']} of {len(judged)} answers differ; first "
            f"{_place(first)}: {first.reason}"
        )
    if comparison.interrupted:
        return "error", (
            f"interrupted: {len(judged)} of {comparison.settings.requests} compared"
        )
    if counts["error"]:
        first = next(item for item in judged if item.verdict == "error")
        return "error", (
            f"{counts['error']} of {len(judged)} answers could not be compared; first "
            f"{_place(first)}: {first.reason}"
        )
    if len(judged) < comparison.settings.requests or not judged:
        return "error", f"{len(judged)} of {comparison.settings.requests} compared"
    ties = (
        f", {counts['near tie']} of them up to a near tie" if counts["near tie"] else ""
    )
    return "pass", f"{len(judged)} answers are the same{ties}"


def write(result: ServingResult, out: Path) -> Path:
    """Writes `serving.json` into ``out``."""
    return write_text(out / FILE, to_json(as_data(result)))


def _place(item: Judged) -> str:
    return f"number {item.question.number} ({item.question.image})"


def _side(measured: Measured, stream: bool) -> EndpointFigures:
    answers = list(measured.answers.values())
    good = [answer for answer in answers if not answer.error]
    tokens = [answer.completion_tokens or 0 for answer in good]
    seconds = measured.seconds
    # Less is offered than was tried where the other side offers less.
    offered = DETAILS.index(measured.detail)
    firsts = [a.first_seconds for a in good if a.first_seconds is not None]
    return EndpointFigures(
        url=measured.url,
        model=measured.model,
        compared_by=measured.detail,
        limit=measured.limit if offered else "",
        asked=len(answers),
        answered=len(good),
        errors=len(answers) - len(good),
        retries=sum(answer.retries for answer in answers),
        seconds=seconds,
        requests_per_second=len(good) / seconds if seconds else None,
        tokens_per_second=sum(tokens) / seconds if seconds and any(tokens) else None,
        first_token_seconds=_percentiles(firsts) if stream else None,
        per_token_seconds=_percentiles(list(_between(good))) if stream else None,
        total_seconds=_percentiles([answer.seconds for answer in good]),
    )


def _between(answers: Iterable[Answer]) -> Iterable[float]:
    """Seconds between tokens after the first, one mean for each answer."""
    for answer in answers:
        later = (answer.completion_tokens or 0) - 1
        if later > 0 and answer.first_seconds is not None:
            yield (answer.seconds - answer.first_seconds) / later


def _percentiles(values: list[float]) -> Percentiles | None:
    if not values:
        return None
    return Percentiles(
        float(np.mean(values)), *map(float, np.percentile(values, PERCENTILES))
    )


def _stored(item: Judged) -> Any:
    answers = {
        name: {**plain(answer), "tokens": [token.name for token in answer.tokens]}
        for name, answer in (("old", item.old), ("new", item.new))
    }
    return {**plain(item.question), **plain(item), **answers}


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
