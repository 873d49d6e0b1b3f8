# SPDX-License-Identifier: Apache-2.0
"""The result over all sides, and ``engine.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mmparity.compare.result import ENGINE_FILE
from mmparity.engine.offline.memory import ALLOWED_GROWTH, growth
from mmparity.files import write_text
from mmparity.stored_json import plain
from mmparity.types.engine import (
    ENGINE_SCHEMA_VERSION,
    EngineFigures,
    EngineMemory,
    EngineResult,
    EngineRow,
    EngineSummary,
)
from mmparity.types.provenance import Provenance
from mmparity.types.verdict import worst

FLAT = "unified"
"""The side whose resident memory must be flat; the others are shown beside it."""


def build(
    rows: Sequence[EngineRow],
    memory: Sequence[EngineMemory],
    runs: dict[str, tuple[str, ...]],
    errors: Sequence[str],
    provenance: Provenance,
) -> EngineResult:
    """Counts and the verdict: an error outweighs a difference."""
    answers = [row.verdict for row in rows if row.verdict != "cannot run"]
    held = [item.verdict for item in memory if item.verdict != "shown"]
    unjudged = errors or (rows and not answers)
    return EngineResult(
        worst([*answers, *held, *(["error"] if unjudged else [])]),
        summarise(rows),
        tuple(rows),
        tuple(memory),
        runs,
        tuple(errors),
        provenance,
    )


def summarise(rows: Sequence[EngineRow]) -> EngineSummary:
    """Counts rows by verdict."""
    verdicts = [row.verdict for row in rows]
    return EngineSummary(
        passed=verdicts.count("pass"),
        failed=verdicts.count("fail"),
        errors=verdicts.count("error"),
        cannot_run=verdicts.count("cannot run"),
        total=len(rows),
    )


def judge_memory(figures: EngineFigures) -> EngineMemory:
    """Flat, and the cache given back, where that is promised."""
    grown = growth(figures)
    if figures.side != FLAT:
        return EngineMemory(figures, grown, None, "shown")
    reasons = []
    if grown is not None and grown > ALLOWED_GROWTH:
        reasons.append(f"resident memory grew by {grown:.1%}")
    reset = figures.held.get("after reset_encoder_cache")
    if reset is None:
        reasons.append("there is no reset_encoder_cache")
    elif reset["held_bytes"] or reset["entries"]:
        reasons.append(f"{reset['held_bytes']} bytes are held after the reset")
    filled = figures.held.get(f"after {figures.images} images")
    if not filled or not filled["entries"]:
        reasons.append("the encoder cache was never filled")
    elif filled["held_bytes"] > filled["entry_bytes"]:
        reasons.append("cached embeddings keep more than their own bytes")
    if not figures.points:
        reasons.append("no requests were served")
    elif grown is None:
        reasons.append("too few requests to see whether memory grows")
    verdict = "fail" if reasons else "pass"
    return EngineMemory(figures, grown, ALLOWED_GROWTH, verdict, "; ".join(reasons))


def write_result(result: EngineResult, directory: Path) -> Path:
    """Writes ``engine.json`` whole or not at all, and returns its path."""
    return write_text(directory / ENGINE_FILE, to_json(result))


def to_json(result: EngineResult) -> str:
    """Strict JSON: what is infinite becomes a string."""
    raw = {"schema_version": ENGINE_SCHEMA_VERSION, **plain(result)}
    return json.dumps(raw, indent=1, allow_nan=False) + "\n"
