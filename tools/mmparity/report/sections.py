# SPDX-License-Identifier: Apache-2.0
"""Sections of report.md beyond its cases, and text that Markdown leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmparity.report import labels
from mmparity.report.structures import IntentView
from mmparity.report.view import ReportView


@dataclass(frozen=True)
class Section:
    """A part that is kept or cut as a whole; table lines are cut from the end."""

    name: str
    head: str
    lines: tuple[str, ...] = ()
    tail: str = ""


def precision(view: ReportView) -> Iterator[Section]:
    """What kind of difference each case has, in both dtypes."""
    if not view.precision:
        return
    head = (
        "### Float32 beside the narrower dtype\n\n"
        "| case | differences | hook points |\n|---|---|---|"
    )
    lines = tuple(
        f"| {cell(item.low)} | {item.verdict} | "
        + "; ".join(f"{n} {kind}, first {cell(first)}" for kind, n, first in item.kinds)
        + " |"
        for item in view.precision
    )
    yield Section("precision", head, lines)


def unmatched(view: ReportView) -> Iterator[Section]:
    """What has no partner."""
    if not view.unmatched:
        return
    head = (
        "<details><summary>Unmatched: "
        f"{labels.count(len(view.unmatched), 'path')}</summary>\n\n"
        "| path | side | where | reason |\n|---|---|---|---|"
    )
    lines = (
        f"| {cell(item.path)} | {item.side} | {cell(item.cases)} | "
        f"{'' if item.explained else '**undeclared** '}{cell(item.reason)} |"
        for item in view.unmatched
    )
    yield Section("unmatched", head, tuple(lines), "\n</details>")


def structures(view: ReportView) -> Iterator[Section]:
    """What the encoders are made of."""
    for item in view.structures:
        lines = tuple(
            f"| {cell(c.kind)} | {cell(c.path)} | {cell(c.old)} | {cell(c.new)} | "
            f"{_intended(intent)} |"
            for intent in item.intents
            for c in intent.changes
        )
        head = (
            f"<details><summary>Structure, {html_text(item.title)}: "
            f"{html_text(item.summary)}</summary>\n\n"
            "| | path | old | new | intended by |\n|---|---|---|---|---|"
        )
        cut = f"\ncut: {labels.count(item.cut, 'more line')}\n" if item.cut else ""
        yield Section("structure", head, lines, f"{cut}\n</details>")


def _intended(intent: IntentView) -> str:
    return "**undeclared**" if intent.verdict == "undeclared" else cell(intent.by)


def engine(view: ReportView) -> Iterator[Section]:
    """What the whole engine did."""
    if view.engine is None:
        return
    e = view.engine
    word = f"{labels.SYMBOLS[e.verdict]} {labels.VERDICTS[e.verdict]}"
    errors = "".join(f"\n- {code(text)}" for text in e.errors)
    yield Section(
        "engine",
        f"### Engine: {word}, {e.headline}\n{errors}\n"
        "| verdict | scenario | model | pair | largest difference | note |\n"
        "|---|---|---|---|---|---|",
        tuple(
            f"| {row.verdict} | {cell(row.scenario)} | {cell(row.model)} | "
            f"{cell(row.pair)} | {row.difference} | {cell(row.said)} |"
            for row in e.answers
        ),
    )
    for item in e.memory:
        lines = [*item.lines, ("growth after the warm-up", item.verdicts)]
        yield Section(
            "memory",
            f"Memory that cached embeddings keep alive, {code(item.title)}:\n\n"
            f"| when | {' | '.join(map(cell, item.sides))} |\n|---|"
            + "---|"
            * len(item.sides),
            tuple(
                f"| {cell(name)} | {' | '.join(map(cell, cells))} |"
                for name, cells in lines
            ),
        )
    if e.speed:
        yield Section(
            "speed",
            f"| side | {' | '.join(e.speed_columns)} |\n|---|"
            + "---:|" * len(e.speed_columns),
            tuple(f"| {cell(name)} | {' | '.join(c)} |" for name, c in e.speed),
        )


def costs(view: ReportView) -> Iterator[Section]:
    """What either side costs."""
    costs = view.costs
    if costs.pairs:
        names = " | ".join(costs.columns)
        head = f"### Cost, old → new\n\n| pair | {names} |\n|---|"
        lines = tuple(
            f"| {cell(pair.title)} | {' | '.join(c or 'n/a' for c in pair.cells)} |"
            for pair in costs.pairs
        )
        note = "Calls: one forward of the smallest case."
        if costs.emulated:
            note += " Emulated operators count with what they call."
        yield Section("cost", head + "---:|" * len(costs.columns), lines, f"\n{note}\n")
    if costs.stages:
        *parts, (_, total) = costs.stages
        said = ", ".join(f"{name} {spent}" for name, spent in parts)
        columns = " | ".join(costs.process_columns)
        yield Section(
            "cost of this run",
            f"**This run took {total}:** {said}. Processes run side by side:\n\n"
            f"| process | {columns} |\n|---|" + "---:|" * len(costs.process_columns),
            tuple(
                f"| {cell(item.name)} | {' | '.join(item.cells)} |"
                for item in costs.processes
            ),
        )


def code(text: str) -> str:
    """Returns a code span that no content can leave.

    In a code span nothing is a mention, a link or HTML.
    """
    if not text:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(text: str) -> str:
    """Returns a code span for a table, which is split at pipes before all else."""
    return code(text.replace("\\|", "\\ |").replace("|", "\\|"))


def html_text(text: str) -> str:
    """Returns text for inside <summary>, where Markdown's spans are not reliable."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "#": "&#35;"}
    escaped = "".join(entities.get(char, char) for char in text)
    return re.sub(r"([\\`*_\[\]|~:])", lambda m: f"&#{ord(m[1])};", escaped)
