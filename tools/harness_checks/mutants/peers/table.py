# SPDX-License-Identifier: Apache-2.0
"""What other tools found of the catalogue, as docs/mutants.md says it.

Pure: catalogue, the harness's score and what the tools found in, text out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness_checks.doc_blocks import write_between
from harness_checks.mutants.peers.places import is_right
from harness_checks.mutants.peers.run import PACKAGES, Judged
from harness_checks.mutants.peers.types import Found
from harness_checks.mutants.score import Score, Scored

TITLES = {"msprobe": "msprobe 26.2.0", "sglang": "SGLang 0.5.23"}
BEGIN, END = "<!-- mutants-peers:begin -->", "<!-- mutants-peers:end -->"


@dataclass(frozen=True)
class Tally:
    """One tool over the bugs and the rewrites that it ran on."""

    bugs: int
    detected: int
    placed: int
    rewrites: int
    alarms: int

    def line(self, title: str) -> str:
        """A row of the summary."""
        return (
            f"| {title} | {self.detected} of {self.bugs} | {self.placed} | "
            f"{self.alarms} of {self.rewrites} |"
        )


def state(row: Scored, found: Found) -> str:
    """``found``, ``elsewhere``, ``missed`` or ``cannot run``."""
    if found.reason:
        return "cannot run"
    if not found.flagged:
        return "missed"
    right = found.edited or is_right(found.places, row.mutant.at)
    return "found" if right else "elsewhere"


def tally(tool: str, result: Score, judged: Judged) -> Tally:
    """The counts of a tool; what it cannot run is in none of them."""
    states = Counter(state(row, judged[row.mutant.name][tool]) for row in result.bugs)
    calm = [judged[row.mutant.name][tool] for row in result.rewrites]
    able = [found for found in calm if not found.reason]
    return Tally(
        sum(states.values()) - states["cannot run"],
        states["found"] + states["elsewhere"],
        states["found"],
        len(able),
        sum(found.flagged for found in able),
    )


def own_tally(result: Score, names: Iterable[str]) -> Tally:
    """The harness over the same bugs and rewrites."""
    chosen = set(names)
    bugs = [row for row in result.bugs if row.mutant.name in chosen]
    calm = [row for row in result.rewrites if row.mutant.name in chosen]
    return Tally(
        len(bugs),
        sum(row.detected for row in bugs),
        sum(row.located for row in bugs),
        len(calm),
        sum(row.detected for row in calm),
    )


def summary(result: Score, judged: Judged) -> list[str]:
    """A line for each tool, and one for the harness over the same edits."""
    ran = [
        name
        for name, found in judged.items()
        if not all(item.reason for item in found.values())
    ]
    lines = [
        "| | bugs detected | placed right | false alarms on rewrites |",
        "|---|---|---|---|",
    ]
    for tool in PACKAGES:
        lines.append(tally(tool, result, judged).line(TITLES[tool]))
    lines.append(own_tally(result, ran).line("mmparity, the same edits"))
    return lines


def table(result: Score, judged: Judged) -> str:
    """The generated part of docs/mutants.md that is about other tools."""
    heads = [*TITLES.values(), "mmparity"]
    lines = [*summary(result, judged), "", _unchanged(result, judged), ""]
    lines += [f"| bug | at | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    lines += [_line(row, judged[row.mutant.name]) for row in result.bugs]
    lines += ["", *_reasons(result, judged)]
    return "\n".join(lines) + "\n"


def _unchanged(result: Score, judged: Judged) -> str:
    """How the tools judge each tree without an edit against itself."""
    known = {row.mutant.name for row in result.rows}
    again = [found for name, found in judged.items() if name not in known]
    words = []
    for tool in PACKAGES:
        able = [found[tool] for found in again if not found[tool].reason]
        alarms = sum(found.flagged for found in able)
        words.append(f"{TITLES[tool]} {alarms} of {len(able)}")
    return f"False alarms on trees without an edit: {', '.join(words)}."


def _line(row: Scored, found: dict[str, Found]) -> str:
    cells = [_cell(state(row, found[tool]), found[tool]) for tool in PACKAGES]
    own = "found" if row.located else "elsewhere" if row.detected else "missed"
    places = " or ".join(f"`{at}`" for at in row.mutant.at)
    return f"| {row.mutant.name} | {places} | {' | '.join(cells)} | {own} |"


def _cell(said: str, found: Found) -> str:
    if said == "elsewhere":
        return f"elsewhere: {f'`{found.row}`' if found.row else 'raised'}"
    return f"**{said}**" if said == "missed" else said


def _reasons(result: Score, judged: Judged) -> list[str]:
    """What could not be run, by the reason."""
    names: dict[str, dict[str, None]] = {}
    for row in result.bugs:
        for found in judged[row.mutant.name].values():
            if found.reason:
                names.setdefault(found.reason, {})[row.mutant.name] = None
    return [f"- Cannot run, {why}: {', '.join(of)}." for why, of in names.items()]


def write_peers(result: Score, judged: Judged, file: Path) -> None:
    """Puts the table between its markers of ``file``."""
    write_between(file, BEGIN, END, f"\n{table(result, judged)}\n")
