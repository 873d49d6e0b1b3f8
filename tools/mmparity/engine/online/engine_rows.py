# SPDX-License-Identifier: Apache-2.0
"""What serving showed, in the engine's result: a row for each run, and the speed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmparity.engine.offline.result import summarise
from mmparity.types.engine import EngineResult, EngineRow, EngineSpeed
from mmparity.types.verdict import worst


def with_serving(result: EngineResult, data: dict[str, Any]) -> EngineResult:
    """The engine's result with what `serve.json` holds; the worse verdict counts."""
    rows = (*result.rows, *rows_of(data))
    return replace(
        result,
        verdict=worst((result.verdict, data["verdict"])),
        summary=summarise(rows),
        rows=rows,
        speed=(*result.speed, *speed_of(data)),
    )


def rows_of(data: dict[str, Any]) -> list[EngineRow]:
    """One for each run, its reason where it is not the same."""
    found = []
    for name, run in data["runs"].items():
        summary, settings = run["summary"], run["settings"]
        found.append(
            _row(
                data,
                f"vllm serve, {name}",
                run,
                f"{run['reason']}; {settings['concurrency']} at a time",
                tokens=summary["compared_tokens"],
                logprobs=summary["compared_tokens"],
                logprob_difference=summary["largest_logprob_difference"],
            )
        )
    for side, part in data["streamed against not"].items():
        found.append(_row(data, f"{side}: streamed, not streamed", part))
    if "bench" in data:
        found.append(_row(data, "vllm bench serve", data["bench"]))
    return found


def speed_of(data: dict[str, Any]) -> list[EngineSpeed]:
    """Of both sides, of each run."""
    found = []
    for name, run in data["runs"].items():
        for side in ("old", "new"):
            figures = run["sides"][side]
            first, each = figures["first_token_seconds"], figures["per_token_seconds"]
            found.append(
                EngineSpeed(
                    data[side],
                    f"{data['model']}, {name}",
                    figures["answered"],
                    figures["requests_per_second"],
                    figures["tokens_per_second"],
                    first["p50"] if first else None,
                    each["p50"] if each else None,
                )
            )
    return found


def _row(
    data: dict[str, Any],
    scenario: str,
    part: dict[str, Any],
    note: str = "",
    **figures: Any,
) -> EngineRow:
    passed = part["verdict"] == "pass"
    return EngineRow(
        data["model"],
        scenario,
        data["old"],
        data["new"],
        part["verdict"],
        reason="" if passed else part["reason"],
        notes=(note or part["reason"],) if passed else (),
        **figures,
    )
