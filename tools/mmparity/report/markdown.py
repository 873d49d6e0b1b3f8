# SPDX-License-Identifier: Apache-2.0
"""report.md: fits a pull-request comment on GitHub, whatever the result holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mmparity.report import labels, rows
from mmparity.report.cases import CaseView
from mmparity.report.divergence import DivergenceView
from mmparity.report.sections import (
    Section,
    cell,
    code,
    costs,
    engine,
    html_text,
    precision,
    structures,
    unmatched,
)
from mmparity.report.view import ReportView

LIMIT = 65_536
"""Characters that GitHub takes in one comment."""
RESERVE = 600
"""Room for saying what was cut."""
SHOWN_ROWS = 10


def render(view: ReportView) -> str:
    """Returns the report, most important first; what does not fit is counted."""
    out: list[str] = []
    cuts: list[str] = []
    room = LIMIT - RESERVE
    for section in _sections(view):
        text, left_out = _fit(section, room)
        out.append(text)
        room -= len(text)
        if left_out:
            cuts.append(f"{section.name}: {left_out}")
    if cuts:
        out.append(
            f"> **Cut to fit {LIMIT:,} characters.** {'; '.join(cuts)[:400]}. "
            "All of it is in report.html and comparison.json.\n"
        )
    return "\n".join(part for part in out if part)


def _fit(section: Section, room: int) -> tuple[str, str]:
    frame = len(section.head) + len(section.tail) + 2
    if frame > room:
        return "", labels.count(len(section.lines), "line") if section.lines else "all"
    kept, used = [], frame
    for line in section.lines:
        used += len(line) + 1
        if used > room:
            break
        kept.append(line)
    cut = len(section.lines) - len(kept)
    text = "\n".join([section.head, *kept, section.tail]).rstrip("\n") + "\n"
    return text, labels.count(cut, "line") if cut else ""


def _sections(view: ReportView) -> Iterator[Section]:
    word = f"{labels.SYMBOLS[view.verdict]} {labels.VERDICTS[view.verdict]}"
    counts = ", ".join(f"{number} {name}" for name, number in view.counts)
    yield Section("verdict", f"## {word}: {view.headline}\n\n{counts}.")
    yield from _decided(view)
    if view.errors:
        yield Section(
            "errors",
            "### Could not be judged\n",
            tuple(f"- {code(labels.clean(text, 600))}" for text in view.errors),
        )
    yield from _notes(view)
    yield _matrix(view)
    for case in view.cases:
        if case.failing:
            yield _failing(case)
    yield from engine(view)
    yield from costs(view)
    yield from precision(view)
    yield from unmatched(view)
    yield from structures(view)
    yield from (_blocks(case) for case in view.cases if case.groups)
    yield _repeats(view.cases)
    yield Section(
        "provenance",
        "<details><summary>Provenance</summary>\n\n| what | value |\n|---|---|",
        tuple(f"| {cell(name)} | {cell(value)} |" for name, value in view.provenance),
        "\n</details>",
    )


def _decided(view: ReportView) -> Iterator[Section]:
    """Where the verdict was decided, or was nearest to another."""
    if view.divergence:
        yield Section("first divergence", "\n".join(_divergence(view.divergence)))
    elif view.undeclared:
        names = ", ".join(code(item.path) for item in view.undeclared[:8])
        number = labels.count(len(view.undeclared), "path")
        yield Section(
            "undeclared", f"**{number} without a partner, undeclared:** {names}."
        )
    elif view.unintended:
        names = ", ".join(code(item.path) for item in view.unintended[:8])
        number = labels.count(len(view.unintended), "structural difference")
        yield Section("structure", f"**{number} that no patch intends:** {names}.")
    elif view.nearest:
        m = view.nearest.margin
        yield Section(
            "nearest to a limit",
            f"Nearest to a limit: {code(m.hook_point)} in {code(view.nearest.case)}, "
            f"{m.metric} {m.value} of {m.allowed} allowed "
            f"({m.used_text}).",
        )
    if view.since:
        cases = "".join(f"\n- {code(line)}" for line in view.since.cases[:8])
        yield Section("since", f"{html_text(view.since.text)}.{cases}")
    if view.unproven:
        yield Section("unproven", f"{html_text(view.unproven)}")


def _notes(view: ReportView) -> Iterator[Section]:
    """What is to be known of the numbers before they are read."""
    if view.overrides:
        yield Section(
            "overridden tolerances",
            "**Tolerances overridden:**\n",
            tuple(f"- {code(text)}" for text in view.overrides),
        )
    for side in view.emulated:
        names = ", ".join(code(name) for name in side.operators)
        yield Section(
            "emulated",
            f"**Emulated, not the device's own** for {code(side.implementation)}: "
            f"{names}.",
        )
    if view.reuse:
        yield Section("reused traces", f"**Reused:** {html_text(view.reuse)}.")


def _divergence(d: DivergenceView) -> Iterator[str]:
    yield f"### First divergence: {code(d.hook_point)}\n"
    yield f"{code(d.reason)}\n"
    yield "| | |"
    yield "|---|---|"
    yield f"| case | {cell(d.case)} |"
    if d.metric:
        yield f"| {d.metric} | {d.value}, allowed {d.allowed} |"
    if d.worst_index:
        yield f"| worst element {d.worst_index} | old {d.old}, new {d.new} |"
    if d.causes:
        yield f"| likely cause, declared by no patch | {cell('; '.join(d.causes))} |"
    if d.changed.files:
        yield f"| {d.changed.title} | {cell(d.changed.files)} |"
    for item in d.code:
        yield f"| {item.side} runs, in {cell(item.module)} | {cell(item.place)} |"
    if d.where:
        yield f"| where | {cell(d.where)} |"
    if d.faults:
        yield f"| differ by themselves | {cell(d.faults)} |"
    yield f"| last passing before it | {cell(d.last_passing) or 'none'} |"
    yield f"| after it | {d.later} |"


def _matrix(view: ReportView) -> Section:
    pairs = view.matrix.pairs
    head = "### Cases\n\n| case | dtype | " + " | ".join(cell(p) for p, _ in pairs)
    head += " |\n|---|---|" + "---|" * len(pairs)
    lines = []
    for name, dtype, cells in view.matrix.lines:
        texts = (
            f"{labels.SYMBOLS[c.verdict]} {labels.VERDICTS[c.verdict]}, {c.counts}, "
            f"max {c.worst}"
            if c
            else "not run"
            for c in cells
        )
        lines.append(f"| {cell(name)} | {cell(dtype)} | {' | '.join(texts)} |")
    held = "".join(f"{cell(p)}: {text}.\n" for p, text in pairs)
    tail = (
        f"\n{held}\nmax: the largest normalized L2 error of new against old in the "
        "case.\n"
        if lines
        else "No case ran.\n"
    )
    return Section("cases", head, tuple(lines), tail)


def _failing(case: CaseView) -> Section:
    names = " | ".join(column.title for column in rows.COLUMNS)
    head = (
        f"### {code(case.id)}: {case.counts}\n\n{code(case.reason)}\n\n"
        f"| hook point | why | {names} |\n|---|---|" + "---:|" * len(rows.COLUMNS)
    )
    lines = tuple(
        f"| {cell(row.hook_point)} | {cell(row.reason)} | {' | '.join(row.cells)} |"
        for row in case.failing[:SHOWN_ROWS]
    )
    more = case.failed - len(lines)
    tail = f"\nand {labels.count(more, 'more failing row')} in report.html.\n"
    return Section(f"rows of {case.id}", head, lines, tail if more else "")


def _blocks(case: CaseView) -> Section:
    names = " | ".join(column.title for column in rows.COLUMNS)
    head = (
        f"<details><summary>{labels.VERDICTS[case.verdict]} {html_text(case.id)}, "
        f"worst of each block</summary>\n\n"
        f"| block | verdict | worst hook point | {names} |\n|---|---|---|"
        + "---:|"
        * len(rows.COLUMNS)
    )
    lines = tuple(
        f"| {group.name} | {labels.VERDICTS[group.verdict]} "
        f"{group.rows - group.failed}/{group.rows} | "
        f"{cell(group.worst_hook_point)} | {' | '.join(group.cells)} |"
        for group in case.groups
    )
    return Section(f"blocks of {case.id}", head, lines, "\n</details>")


def _repeats(cases: Iterable[CaseView]) -> Section:
    commands: Sequence[str] = list(dict.fromkeys(c.repeat for c in cases if c.repeat))
    lines = tuple(f"- {code(command)}" for command in commands)
    return Section(
        "repeat commands",
        "<details><summary>Repeat one case</summary>\n",
        lines,
        "\n</details>",
    )
