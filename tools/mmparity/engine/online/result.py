# SPDX-License-Identifier: Apache-2.0
"""A comparison of endpoints -> `serving.json`, the source of every report of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmparity.engine.online.types import (
    DETAILS,
    SERVING_VERSION,
    Answer,
    Comparison,
    Judged,
    Measured,
)
from mmparity.files import write_text
from mmparity.types.verdict import Verdict

FILE = "serving.json"
PERCENTILES = (50, 95, 99)
COUNTED = ("same", "near tie", "differ", "error")


def as_data(comparison: Comparison) -> dict[str, Any]:
    """What `serving.json` holds; plain data, without the images."""
    verdict, reason = judgement(comparison)
    settings = comparison.settings
    counts = Counter[str](item.verdict for item in comparison.judged)
    distinct = {(item.question.image, item.question.prompt) for item in
                comparison.judged}  # fmt: skip
    return {
        "schema_version": SERVING_VERSION,
        "verdict": verdict,
        "reason": reason,
        "compared_by": comparison.detail,
        "interrupted": comparison.interrupted,
        "settings": {**vars(settings)},
        "summary": {
            **{name: counts[name] for name in COUNTED},
            "compared": len(comparison.judged),
            "asked": settings.requests,
            "distinct_questions": len(distinct),
            "distinct_answers": len({item.old.text for item in comparison.judged}),
            "compared_tokens": sum(item.compared for item in comparison.judged),
            "largest_logprob_difference": _largest(
                item.largest for item in comparison.judged
            ),
            "largest_top_logprob_difference": _largest(
                item.largest_top for item in comparison.judged
            ),
        },
        "sides": {
            "old": _side(comparison.old, comparison.settings.stream),
            "new": _side(comparison.new, comparison.settings.stream),
        },
        "answers": [_judged(item) for item in comparison.judged],
    }


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


def write(data: dict[str, Any], out: Path) -> Path:
    """Writes `serving.json` into ``out``."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return write_text(out / FILE, text + "\n")


def _place(item: Judged) -> str:
    return f"number {item.question.number} ({item.question.image})"


def _side(measured: Measured, stream: bool) -> dict[str, Any]:
    answers = list(measured.answers.values())
    good = [answer for answer in answers if not answer.error]
    tokens = [answer.completion_tokens or 0 for answer in good]
    seconds = measured.seconds
    # Less is offered than was tried where the other side offers less.
    offered = DETAILS.index(measured.detail)
    return {
        "url": measured.url,
        "model": measured.model,
        "compared_by": measured.detail,
        "limit": measured.limit if offered else "",
        "asked": len(answers),
        "answered": len(good),
        "errors": len(answers) - len(good),
        "retries": sum(answer.retries for answer in answers),
        "seconds": seconds,
        "requests_per_second": len(good) / seconds if seconds else None,
        "tokens_per_second": sum(tokens) / seconds if seconds and any(tokens) else None,
        "first_token_seconds": _percentiles(
            [a.first_seconds for a in good if a.first_seconds is not None]
        )
        if stream
        else None,
        "per_token_seconds": _percentiles(list(_between(good))) if stream else None,
        "total_seconds": _percentiles([answer.seconds for answer in good]),
    }


def _between(answers: Iterable[Answer]) -> Iterable[float]:
    """Seconds between tokens after the first, one mean for each answer."""
    for answer in answers:
        later = (answer.completion_tokens or 0) - 1
        if later > 0 and answer.first_seconds is not None:
            yield (answer.seconds - answer.first_seconds) / later


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.percentile(values, PERCENTILES)
    numbers = {f"p{q}": float(v) for q, v in zip(PERCENTILES, found, strict=True)}
    return {"mean": float(np.mean(values)), **numbers}


def _judged(item: Judged) -> dict[str, Any]:
    return {
        "number": item.question.number,
        "image": item.question.image,
        "prompt": item.question.prompt,
        "verdict": item.verdict,
        "reason": item.reason,
        "first_difference": item.position,
        "gaps": item.gaps,
        "compared_tokens": item.compared,
        "largest_logprob_difference": item.largest,
        "largest_top_logprob_difference": item.largest_top,
        "old": _answer(item.old),
        "new": _answer(item.new),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    kept = {name: value for name, value in vars(answer).items() if name != "tokens"}
    return {**kept, "tokens": [token.name for token in answer.tokens]}


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
