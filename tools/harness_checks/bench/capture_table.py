# SPDX-License-Identifier: Apache-2.0
"""The figures of ``harness_checks.bench.capture`` as a table, here and in docs/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness_checks.bench.conditions import sentence
from harness_checks.bench.costs import Conditions, RecordingCost
from harness_checks.bench.tables import Cells, markdown_table
from harness_checks.doc_blocks import write_between

BEGIN, END = "<!-- capture-cost:begin -->", "<!-- capture-cost:end -->"
HEAD = ("", "plain s", "recorded s", "ratio", "extra MiB", "MiB written", "target")
LIMITS = {"statistics": (1.25, 64), "trace": (1.5, 64)}
"""Mode -> times the plain forward, and MiB, that it may take at most."""


@dataclass(frozen=True)
class ModeRow:
    """One mode; ``cells`` has no figure where it could not be measured."""

    title: str
    cells: Cells

    @property
    def line(self) -> Cells:
        """All that the table has of it."""
        return self.title, *self.cells


def rows(
    found: Mapping[str, RecordingCost], titles: Mapping[str, str]
) -> list[ModeRow]:
    """A row for each mode, in order."""
    return [ModeRow(titles[mode], _cells(mode, one)) for mode, one in found.items()]


def _cells(mode: str, one: RecordingCost) -> Cells:
    if one.missing:
        return ("", "", "", "", "", one.missing)
    plain, recorded = (min(one.seconds[key]) for key in ("plain", "recorded"))
    extra, written = one.extra_bytes / 2**20, one.written_bytes / 2**20
    verdict = ""
    if mode in LIMITS:
        ratio, most = LIMITS[mode]
        met = recorded / plain <= ratio and extra <= most
        verdict = f"{'met' if met else 'missed'}: {ratio:g}, {most} MiB"
    return (
        *(f"{value:.3f}" for value in (plain, recorded)),
        f"{recorded / plain:.2f}",
        *(f"{value:.0f}" for value in (extra, written)),
        verdict,
    )


def markdown(figures: Iterable[ModeRow], given: Conditions) -> str:
    """For a page, with what it was measured on, with what, and when."""
    lines = [
        f"{sentence(given)} Least of {given.repeats} forwards each, plain and "
        "recorded in turn.",
        "",
        *markdown_table(HEAD, (row.line for row in figures)),
    ]
    return "\n".join([*lines, ""])


def write_docs(text: str, file: Path) -> None:
    """Puts the text between the markers of ``file``."""
    write_between(file, BEGIN, END, text)
