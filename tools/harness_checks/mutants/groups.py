# SPDX-License-Identifier: Apache-2.0
"""The rates by model family, by path through the encoder, and by weights.

Pure: a score in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness_checks.mutants.score import Score, Scored
from harness_checks.mutants.workload import get as get_workload

PADDED = "padded weights"
_PATHS = {"unified-ascend-weights": PADDED}
"""Implementation -> its path, where that has another name."""


def family(row: Scored) -> str:
    """The model family whose tower ran."""
    return get_workload(row.mutant.workload).family


def path(row: Scored) -> str:
    """Quantised or spread over ranks, else what ran."""
    on = row.mutant.on
    return get_workload(row.mutant.workload).path or _PATHS.get(on, on)


def weights(row: Scored) -> str:
    """What the weights were like."""
    return get_workload(row.mutant.workload).weights


KEYS: dict[str, Callable[[Scored], str]] = {
    "family": family,
    "path": path,
    "weights": weights,
}


def groups(result: Score) -> Iterator[tuple[str, str, Score]]:
    """What is grouped by, the group's name, and its part of the score."""
    for title, key in KEYS.items():
        for name in dict.fromkeys(map(key, result.rows)):
            rows = tuple(row for row in result.rows if key(row) == name)
            yield title, name, Score(rows)


def table(result: Score) -> list[str]:
    """A Markdown table with a line for each group."""
    lines = ["| by | | bugs | found | placed right | false alarms | of rewrites |"]
    lines.append("|---|---|---|---|---|---|---|")
    for title, name, part in groups(result):
        bugs, rewrites = part.bugs, part.rewrites
        lines.append(
            f"| {title} | {name} | {len(bugs)} | {sum(r.detected for r in bugs)} "
            f"| {sum(r.located for r in bugs)} "
            f"| {sum(r.detected for r in rewrites)} | {len(rewrites)} |"
        )
    return lines
