# SPDX-License-Identifier: Apache-2.0
"""Bugs that users reported in public: those replayed here, and those that cannot be.

Pure: catalogue and outcomes in, text out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness_checks.doc_blocks import write_between
from harness_checks.mutants.catalogue import FOLDER, read_toml
from harness_checks.mutants.score import Score, on_twin, place_of, right_of

BEGIN, END = "<!-- history:begin -->", "<!-- history:end -->"


@dataclass(frozen=True)
class NotHere:
    """A public bug that no run on a CPU shows, and why."""

    reference: tuple[str, ...]
    was: str
    reason: str


def read_not_here(folder: Path = FOLDER) -> tuple[NotHere, ...]:
    """Those of ``history.toml``."""
    entries = read_toml(folder / "history.toml")["not_here"]
    return tuple(
        NotHere(tuple(entry.pop("reference")), **entry) for entry in map(dict, entries)
    )


def table(result: Score, not_here: tuple[NotHere, ...]) -> str:
    """The generated part of docs/mutants.md about public bugs."""
    lines = [f"**{result.sentence()}.**", ""]
    heads = ("public bug", "what was wrong", "planted in", "found at", "right place")
    lines += [
        f"| {' | '.join(heads)} | on trained spectra |",
        "|---|---|---|---|---|---|",
    ]
    twins = result.twins
    for row in (row for row in result.rows if not row.mutant.twin_of):
        mutant = row.mutant
        where = f"{mutant.module.rpartition('.')[2]} ({mutant.on}"
        where += f", {mutant.workload})" if mutant.workload != "float" else ")"
        lines.append(
            f"| {', '.join(mutant.reference)} | {mutant.was} | {where} "
            f"| {place_of(row)} | {right_of(row)} | {on_twin(row, twins)} |"
        )
    lines += ["", "Not shown here:", "", "| public bug | what was wrong | why not |"]
    lines += ["|---|---|---|"]
    for item in not_here:
        lines.append(f"| {', '.join(item.reference)} | {item.was} | {item.reason} |")
    return "\n".join(lines) + "\n"


def write_docs(result: Score, file: Path) -> None:
    """Puts the table between the markers of ``file``."""
    write_between(file, BEGIN, END, f"\n{table(result, read_not_here())}\n")
