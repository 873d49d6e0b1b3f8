# SPDX-License-Identifier: Apache-2.0
"""What the outcomes say of the harness: rates, and the table of docs/mutants.md.

Pure: catalogue and outcomes in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness_checks.doc_blocks import write_between
from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.trial import TrialOutcome

LEAST_DETECTED = 1.0
LEAST_LOCATED = 0.95
BEGIN, END = "<!-- mutants:begin -->", "<!-- mutants:end -->"


@dataclass(frozen=True)
class Scored:
    """A mutant with what it did."""

    mutant: Mutant
    outcome: TrialOutcome

    @property
    def counts(self) -> bool:
        """Whether it is a bug that must be found."""
        return self.mutant.kind == "bug" and not self.mutant.equivalent

    @property
    def detected(self) -> bool:
        """Whether the verdict is not a pass."""
        return self.outcome.verdict != "pass"

    @property
    def located(self) -> bool:
        """Whether the first divergence is where the catalogue says."""
        if self.mutant.kind == "several":
            return self.outcome.place == ", ".join(self.mutant.at)
        in_case = self.mutant.case in (None, self.outcome.case)
        return self.detected and in_case and self.outcome.place in self.mutant.at

    @property
    def problem(self) -> str:
        """Why this mutant speaks against the harness or the catalogue, or ''."""
        if self.mutant.kind == "rewrite":
            return "false alarm" if self.detected else ""
        if self.mutant.kind == "several":
            return "" if self.located else "not told apart"
        if self.mutant.equivalent:
            same = self.outcome.identical and not self.detected
            return "" if same else "declared equivalent, but bits differ"
        if not self.detected:
            return "escapes" + "; it changes no bit" * self.outcome.identical
        return "" if self.located else "misplaced"


@dataclass(frozen=True)
class Score:
    """The rates over a catalogue."""

    rows: tuple[Scored, ...]

    @property
    def bugs(self) -> list[Scored]:
        """Those that must be found."""
        return [row for row in self.rows if row.counts]

    @property
    def rewrites(self) -> list[Scored]:
        """Those that must pass."""
        return [row for row in self.rows if row.mutant.kind == "rewrite"]

    @property
    def twins(self) -> dict[str, Scored]:
        """A mutant's name -> the same one on weights with trained spectra."""
        rows = (row for row in self.rows if row.mutant.twin_of)
        return {row.mutant.twin_of: row for row in rows}

    @property
    def detection(self) -> float:
        """Share of the bugs that were found; 0 where there are none."""
        return _share(row.detected for row in self.bugs)

    @property
    def localisation(self) -> float:
        """Share of the bugs that were found at the right place."""
        return _share(row.located for row in self.bugs)

    @property
    def problems(self) -> list[Scored]:
        """What does not do as the catalogue says."""
        return [row for row in self.rows if row.problem]

    @property
    def passes(self) -> bool:
        """Whether the harness is as good as it must be."""
        only_misplaced = all(row.problem == "misplaced" for row in self.problems)
        enough = self.localisation >= LEAST_LOCATED if self.bugs else True
        found = self.detection >= LEAST_DETECTED if self.bugs else True
        return bool(self.rows) and only_misplaced and enough and found

    def sentence(self) -> str:
        """The rates in one line."""
        bugs = self.bugs
        rewrites = self.rewrites
        alarms = sum(row.detected for row in rewrites)
        sets = [row for row in self.rows if row.mutant.kind == "several"]
        apart = f"{sum(row.located for row in sets)} of {len(sets)} sets told apart"
        equivalent = sum(bool(row.mutant.equivalent) for row in self.rows)
        return (
            f"{sum(row.detected for row in bugs)} of {len(bugs)} bugs detected "
            f"({self.detection:.1%}), {sum(row.located for row in bugs)} placed right "
            f"({self.localisation:.1%}), {alarms} false alarms on {len(rewrites)} "
            f"rewrites, {equivalent} equivalent" + (f", {apart}" if sets else "")
        )


def score(mutants: Iterable[Mutant], outcomes: dict[str, TrialOutcome]) -> Score:
    """Puts catalogue and outcomes together; every mutant must have one."""
    return Score(tuple(Scored(mutant, outcomes[mutant.name]) for mutant in mutants))


def table(result: Score) -> str:
    """The generated part of docs/mutants.md."""
    twins = result.twins
    lines = [f"**{result.sentence()}.**", ""]
    lines += ["| bug | edited | found at | in | right place | on trained spectra |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [_bug_row(row, twins) for row in result.bugs if not row.mutant.twin_of]
    lines += _several(result)
    lines += ["", "Edits that change no bit here, and why; they count as nothing:", ""]
    lines += ["| edit | edited | why |", "|---|---|---|"]
    for row in result.rows:
        if row.mutant.equivalent and not row.mutant.twin_of:
            name, place = row.mutant.name, _edited(row)
            lines.append(f"| {name} | {place} | {row.mutant.equivalent} |")
    lines += ["", "Rewrites that must not be reported:", ""]
    lines += ["| rewrite | edited | verdict | bits | on trained spectra |"]
    lines += ["|---|---|---|---|---|"]
    for row in result.rows:
        if row.mutant.kind == "rewrite" and not row.mutant.twin_of:
            twin = twins.get(row.mutant.name)
            trained = twin.outcome.verdict if twin else "-"
            bits = "the same" if row.outcome.identical else "differ"
            verdict = row.outcome.verdict
            cells = row.mutant.name, _edited(row), verdict, bits, trained
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _several(result: Score) -> list[str]:
    sets = [row for row in result.rows if row.mutant.kind == "several"]
    if not sets:
        return []
    lines = ["", "Several bugs at once, each named in one run, fed old's tensors:", ""]
    lines += ["| bugs | named | all of them and nothing else |", "|---|---|---|"]
    for row in sets:
        names = ", ".join(part.name for part in row.mutant.parts)
        lines.append(f"| {names} | {row.outcome.place} | {row.problem or 'yes'} |")
    return lines


def write_docs(result: Score, file: Path) -> None:
    """Puts the table between the markers of ``file``."""
    write_between(file, BEGIN, END, f"\n{table(result)}\n")


def _bug_row(row: Scored, twins: dict[str, Scored]) -> str:
    outcome = row.outcome
    how = f"{outcome.case or 'load'}" + (", raised" * (outcome.verdict == "error"))
    if row.mutant.workload != "float":
        how += f" on {row.mutant.workload}"
    return (
        f"| {row.mutant.name} | {_edited(row)} | {place_of(row)} | {how} "
        f"| {right_of(row)} | {on_twin(row, twins)} |"
    )


def on_twin(row: Scored, twins: dict[str, Scored]) -> str:
    """Where the same bug was found on the other weights, where that differs."""
    twin = twins.get(row.mutant.name)
    if twin is None:
        return "-"
    if twin.outcome.place == row.outcome.place and twin.located:
        return "the same"
    return f"{place_of(twin)}: {right_of(twin)}"


def place_of(row: Scored) -> str:
    """The first divergence, as the tables print it."""
    return f"`{row.outcome.place}`" if row.outcome.place else "-"


def right_of(row: Scored) -> str:
    """Whether that is the right place, and else which would be."""
    if row.problem == "misplaced":
        return f"**misplaced**: {' or '.join(f'`{at}`' for at in row.mutant.at)}"
    return "yes" if row.located else f"**{row.problem}**"


def _edited(row: Scored) -> str:
    module = row.mutant.module.rpartition(".")[2]
    return f"{module}: {', '.join(row.outcome.edited)} ({row.mutant.on})"


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
