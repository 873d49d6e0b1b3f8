# SPDX-License-Identifier: Apache-2.0
"""The terminal's 15 lines, and report.txt."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from mmparity.report import judgements, labels, rows
from mmparity.report.cases import CaseView
from mmparity.report.divergence import DivergenceView
from mmparity.report.view import ReportView

WIDTH = 88
SUMMARY_LINES = 15
ERROR_LINES = 6
_COLORS = {"pass": "\x1b[32m", "fail": "\x1b[31m", "error": "\x1b[33m"}


def summary(view: ReportView, color: bool = False) -> str:
    """Returns the verdict and where it was decided, in at most 15 lines."""
    lines = [_headline(view, color)]
    lines += _wrapped(", ".join(f"{number} {name}" for name, number in view.counts))
    lines += _finding(view)
    if view.emulated:
        lines += [_short(f"emulated: {_emulated(view)}")]
    if view.since:
        lines += [_short(view.since.text)]
        lines += [_short(f"  {line}") for line in view.since.cases[:2]]
    if view.reuse:
        lines += [_short(f"reused: {view.reuse}")]
    if view.overrides:
        lines += [_short(f"TOLERANCES OVERRIDDEN: {'; '.join(view.overrides)}")]
    if view.precision:
        lines += [_short(f"float32 and narrower: {_precision(view)}")]
    if view.engine:
        e = view.engine
        lines += [_short(f"engine: {labels.VERDICTS[e.verdict]}, {e.headline}")]
    room = SUMMARY_LINES - len(lines)
    lines += _case_lines(view.cases, room)
    return "\n".join(lines[:SUMMARY_LINES]) + "\n"


def render(view: ReportView) -> str:
    """Returns report.txt: the summary, then every case with its failing rows."""
    out = [*_finding_page(view), ""]
    if view.since:
        out += _wrapped(view.since.text, 0)
        out += [line for case in view.since.cases for line in _wrapped(case)]
        out.append("")
    for case in view.cases:
        out += [*_case_page(case), ""]
    if view.unmatched:
        out.append("Unmatched")
        for item in view.unmatched:
            mark = "" if item.explained else "UNDECLARED "
            text = f"{mark}{item.path} ({item.side}, {item.cases}): {item.reason}"
            out += _wrapped(text)
        out.append("")
    for pair in view.precision:
        out.append(f"Precision, {pair.high} and {pair.low}: {pair.verdict}")
        for kind, number, first in pair.kinds:
            out += _wrapped(f"{number} {kind}, first {first}")
        out.append("")
    out += _engine_page(view)
    out += _cost_page(view)
    out += _structure_page(view)
    out.append("Provenance")
    for name, value in view.provenance:
        out += _wrapped(f"{name}: {value}")
    return "\n".join(out) + "\n"


def _engine_page(view: ReportView) -> Iterator[str]:
    if view.engine is None:
        return
    e = view.engine
    yield f"Engine {labels.VERDICTS[e.verdict]}: {e.headline}"
    for text in e.errors:
        yield from _wrapped(f"error: {text}")
    for row in e.answers:
        parts = (row.verdict, row.model, row.scenario, row.pair, row.difference)
        yield from _wrapped(
            f"{', '.join(filter(None, parts))}: {row.said}".rstrip(": ")
        )
    for item in e.memory:
        yield f"  memory, {item.title}"
        for moment, cells in (*item.lines, ("growth", item.verdicts)):
            for side, cell in zip(item.sides, cells, strict=True):
                yield from _wrapped(f"{moment}, {side}: {cell}", 4)
    for name, cells in e.speed:
        pairs = zip(e.speed_columns, cells, strict=True)
        yield from _wrapped(f"{name}: " + ", ".join(f"{c} {v}" for c, v in pairs))
    yield ""


def _cost_page(view: ReportView) -> Iterator[str]:
    for pair in view.costs.pairs:
        yield f"Cost, {pair.title}"
        for name, value in zip(view.costs.columns, pair.cells, strict=True):
            if value:
                yield from _wrapped(f"{name}: {value}")
        yield ""
    if view.costs.stages:
        *parts, (_, total) = view.costs.stages
        yield f"Cost of this run, {total}"
        yield from _wrapped(", ".join(f"{name} {spent}" for name, spent in parts))
        yield ""


def _structure_page(view: ReportView) -> Iterator[str]:
    for structure in view.structures:
        yield f"Structure, {structure.title}: {structure.summary}"
        for intent in structure.intents:
            mark = "UNDECLARED " if intent.verdict == "undeclared" else ""
            yield from _wrapped(f"{mark}{intent.by}: {intent.why}".rstrip(": "))
            for change in intent.changes:
                values = " -> ".join(v for v in (change.old, change.new) if v)
                yield from _wrapped(
                    f"{change.kind}: {change.path} {values}".rstrip(), 4
                )
        if structure.cut:
            yield f"  cut: {labels.count(structure.cut, 'more line')}"
        yield ""


def _headline(view: ReportView, color: bool) -> str:
    word = labels.VERDICTS[view.verdict]
    shown = f"{_COLORS[view.verdict]}{word}\x1b[0m" if color else word
    return f"{shown}  {view.headline}"


def _finding(view: ReportView) -> list[str]:
    d = view.divergence
    if d:
        lines = [f"first divergence: {d.hook_point}  in {d.case}"]
        lines += [f"  {name}: {value}" for name, value in _facts(d)]
        return [_short(line) for line in lines]
    if view.errors:
        firsts = [f"error: {text.splitlines()[0]}" for text in view.errors]
        return [line for text in firsts for line in _wrapped(text, 0)][:ERROR_LINES]
    if view.undeclared:
        names = ", ".join(f"{item.path} ({item.side})" for item in view.undeclared[:3])
        number = labels.count(len(view.undeclared), "path")
        return [_short(f"{number} without a partner, undeclared: {names}")]
    if view.unintended:
        first = view.unintended[0]
        total = labels.count(len(view.unintended), "structural difference")
        return [
            _short(f"{total} that no patch intends"),
            _short(f"  first: {first.kind} {first.path}"),
        ]
    if view.nearest:
        m = view.nearest.margin
        return [
            *([_short(view.unproven)] if view.unproven else []),
            _short(f"nearest to a limit: {m.hook_point}"),
            _short(
                f"  {m.metric} {m.value}, allowed {m.allowed} "
                f"({m.used_text} of it)  in {view.nearest.case}"
            ),
        ]
    return []


def _facts(d: DivergenceView) -> Iterator[tuple[str, str]]:
    yield "why", d.reason
    if d.causes:
        yield "likely cause, declared by no patch", "; ".join(d.causes)
    if d.changed.files:
        yield d.changed.title, d.changed.files
    if d.metric:
        yield d.metric, f"{d.value}, allowed {d.allowed}"
    if d.worst_index:
        yield "worst element", f"{d.worst_index} old {d.old}, new {d.new}"
    if d.where:
        yield "where", d.where
    if d.faults:
        yield "by themselves", d.faults
    yield "last passing", d.last_passing or "none"
    yield "after it", d.later


def _finding_page(view: ReportView) -> list[str]:
    """The finding again, without shortening."""
    lines = [_headline(view, color=False), ""]
    d = view.divergence
    if d:
        lines.append(f"First divergence: {d.hook_point}")
        for name, value in (("case", d.case), *_facts(d)):
            lines += _wrapped(f"{name}: {value}")
    elif not view.errors:
        lines += _finding(view)
    for text in view.errors:
        lines += [
            part for line in f"error: {text}".splitlines() for part in _wrapped(line)
        ]
    for text in view.overrides:
        lines += _wrapped(f"tolerances overridden: {text}")
    for side in view.emulated:
        names = ", ".join(side.operators)
        lines += _wrapped(f"emulated for {side.implementation}: {names}")
    if view.reuse:
        lines += _wrapped(f"reused: {view.reuse}")
    return lines


def _case_lines(cases: Sequence[CaseView], room: int) -> list[str]:
    """One line per case, those that are not a pass first, as far as there is room."""
    order = sorted(cases, key=lambda case: case.verdict == "pass")
    shown = order if len(order) <= room else order[: max(0, room - 1)]
    width = max((len(case.id) for case in shown), default=0)
    lines = [
        _short(f"  {labels.VERDICTS[c.verdict]:5} {c.id:{width}}  {c.counts}")
        for c in shown
    ]
    rest = order[len(shown) :]
    if rest:
        passed = sum(case.verdict == "pass" for case in rest)
        more = labels.count(len(rest), "more case")
        lines.append(f"  and {more}, {passed:,} of them PASS")
    return lines


def _case_page(case: CaseView) -> Iterator[str]:
    yield f"{labels.VERDICTS[case.verdict]}  {case.id}"
    yield from _wrapped(case.description)
    yield f"  {case.counts}, {case.bit_equal:,} bit-equal; grid {case.grids}"
    if case.coverage:
        yield from _wrapped(case.coverage)
    if case.spark:
        yield f"  normalized L2 error by block, log scale: {case.spark}"
    if case.reason:
        yield from _wrapped(case.reason)
    for row in case.failing:
        yield f"  {labels.VERDICTS[row.verdict]} {row.hook_point}"
        yield from _wrapped(row.reason, 6)
        if row.worst_index:
            yield f"      {rows.elements(row)}"
            yield from _wrapped(rows.numbers(row), 6)
    if case.failing_cut:
        yield f"  cut: {labels.count(case.failing_cut, 'more failing row')}"
    yield f"  repeat: {case.repeat}"


def _emulated(view: ReportView) -> str:
    return ", ".join(
        dict.fromkeys(name for side in view.emulated for name in side.operators)
    )


def _precision(view: ReportView) -> str:
    """How many case pairs are of which kind, the most serious first."""
    return ", ".join(
        f"{count} {kind}" for kind, count in judgements.tally(view.precision)
    )


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _wrapped(text: str, indent: int = 2) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=space,
        subsequent_indent=space + "  ",
        break_on_hyphens=False,
    )
