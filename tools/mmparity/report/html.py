# SPDX-License-Identifier: Apache-2.0
"""report.html: one file, no request, readable without its script and on paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmparity.report import charts, data, labels, maps, memory_chart, rows
from mmparity.report.cases import CaseView
from mmparity.report.view import ReportView
from mmparity.types.comparison import CaseComparison, ComparisonResult

HARD_LIMIT = 2 * 1024 * 1024
TYPICAL = 450 * 1024
"""A page of up to this size needs no measures to be smaller."""
RESERVE = 4 * 1024
"""Room for the sentence that says what was cut."""
SECTION_SHARE = 0.5
"""Of the room: all rows of the first cases are worth more than charts of the last."""
STATIC_ROWS = 300
"""Failing rows that the whole page shows without its script."""
HERE = Path(__file__).parent


def render(view: ReportView, result: ComparisonResult) -> str:
    """Returns the page, never larger than the limit; what is cut is announced.

    One that would be large holds its rows compressed, and leaves it to its script to
    draw and list the blocks of cases that pass.
    """
    page = _whole(view, result)
    return _fitted(view, result) if page is None else page


def _whole(view: ReportView, result: ComparisonResult) -> str | None:
    """The page with all in it; None, as soon as that shows, if it would be large."""
    environment = _environment(lean=False)
    sections: dict[int, str] = {}
    used = 0
    for i in range(len(view.cases)):
        sections[i] = _section(environment, view, result, i, full=True)
        used += len(sections[i].encode())
        if used > TYPICAL:
            return None
    cases = _chosen(view, result, sections)
    text = data.pack(cases, None, view.maps, TYPICAL - used) if cases else ""
    if text is None:
        return None
    page = _page(environment, view, result, sections, text, ())
    return page if len(page.encode()) <= TYPICAL else None


def _fitted(view: ReportView, result: ComparisonResult) -> str:
    """The large page, which leaves to its script what it can, and what fits of it."""
    environment = _environment(lean=True)
    order = sorted(
        range(len(view.cases)), key=lambda i: view.cases[i].verdict == "pass"
    )
    briefs = {i: _section(environment, view, result, i, full=False) for i in order}
    bare = len(_page(environment, view, result, briefs, "", ()).encode())
    room = max(0, HARD_LIMIT - RESERVE - bare)
    sections, whole, used = dict(briefs), [], 0
    for i in order:
        full = _section(environment, view, result, i, full=True)
        used += len(full.encode()) - len(briefs[i].encode())
        if used > room * SECTION_SHARE:
            break
        sections[i] = full
        whole.append(i)
    spent = sum(len(sections[i].encode()) - len(briefs[i].encode()) for i in whole)
    text, packed = _pack(view, result, whole, room - spent)
    cuts = _cuts(view, whole, packed)
    return _page(environment, view, result, sections, text, cuts)


def _environment(lean: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        columns=rows.COLUMNS,
        verdicts=labels.VERDICTS,
        symbols=labels.SYMBOLS,
        levels=maps.NAMES,
        lines=memory_chart.COLORS,
        tally=labels.tally,
        lean=lean,
    )
    environment.filters["count"] = labels.count
    return environment


def _page(
    environment: Environment,
    view: ReportView,
    result: ComparisonResult,
    sections: Mapping[int, str],
    text: str,
    cuts: tuple[str, ...],
) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    featured = view.featured
    chart = None
    if featured is not None:
        anchor = view.cases[featured].anchor
        chart = charts.error_chart(result.cases[featured], anchor, "chart")
    return environment.get_template("page.html.j2").render(
        view=view,
        sections={
            case.anchor: Markup(sections[i]) for i, case in enumerate(view.cases)
        },
        chart=chart,
        featured=None if featured is None else view.cases[featured],
        rows=Markup(text or '{"cases":{}}'),
        cuts=cuts,
        linked={item.slug for item in view.patches},
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _section(
    environment: Environment,
    view: ReportView,
    result: ComparisonResult,
    number: int,
    full: bool,
) -> str:
    case = view.cases[number]
    failing = sum(bool(c.failing) for c in view.cases)
    limit = max(10, STATIC_ROWS // max(1, failing))
    return environment.get_template("case.html.j2").render(
        case=case,
        full=full,
        chart=charts.error_chart(result.cases[number], case.anchor) if full else "",
        alone=len(view.cases) == 1,
        failing=case.failing[:limit],
        failing_cut=case.failed - len(case.failing[:limit]),
    )


def _pack(
    view: ReportView,
    result: ComparisonResult,
    order: list[int],
    room: int,
) -> tuple[str, list[int]]:
    """Packs as many cases as there is room for, in the order given."""
    kept = order
    while kept:
        chosen = _chosen(view, result, kept)
        packed = data.pack(chosen, _moved(view, chosen), view.maps)
        assert packed is not None
        text = data.compress(packed)
        if len(text) <= room:
            return text, kept
        kept = kept[: min(len(kept) - 1, len(kept) * room // len(text))]
    return "", []


def _chosen(
    view: ReportView, result: ComparisonResult, numbers: Iterable[int]
) -> dict[str, CaseComparison]:
    return {view.cases[i].anchor: result.cases[i] for i in sorted(numbers)}


def _moved(view: ReportView, chosen: Mapping[str, CaseComparison]) -> data.Moved:
    return data.Moved(
        diffs={item.slug: item.diff for item in view.patches},
        charts={
            anchor: charts.error_chart(case, anchor)
            for anchor, case in chosen.items()
            if case.verdict == "pass"
        },
    )


def _cuts(view: ReportView, whole: list[int], packed: list[int]) -> tuple[str, ...]:
    cuts = []
    for noun, kept in (("chart and blocks", whole), ("rows", packed)):
        missing = [c for i, c in enumerate(view.cases) if i not in kept and c.rows]
        if missing:
            cuts.append(f"{noun} of {_named(missing)}")
    return tuple(cuts)


def _named(cases: list[CaseView]) -> str:
    if len(cases) > 3:
        return labels.count(len(cases), "case")
    return " and ".join(case.id for case in cases)


def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
