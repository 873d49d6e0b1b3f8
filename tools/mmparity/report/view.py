# SPDX-License-Identifier: Apache-2.0
"""ComparisonResult -> what a report shows, in words; every format renders this."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import (
    costs,
    differences,
    engine,
    judgements,
    labels,
    replaced,
    rows,
    structures,
    tokens,
)
from mmparity.report.costs import CostsView
from mmparity.report.divergence import DivergenceView, first_divergence
from mmparity.report.engine import EngineView
from mmparity.report.replaced import PatchView, ReplacedView
from mmparity.report.rows import GroupView, Margin, RowView
from mmparity.report.structures import ChangeView, StructureView
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.row import LayerComparison
from mmparity.types.verdict import Verdict

FAILING_LIMIT = 60
"""Failing rows of one case that every format shows in full."""


@dataclass(frozen=True)
class CaseView:
    """One case without its passing rows, which only the HTML report carries."""

    anchor: str
    id: str
    name: str
    dtype: str
    old: str
    new: str
    oracle: str
    verdict: Verdict
    reason: str
    description: str
    grids: str
    counts: str
    rows: int
    failed: int
    bit_equal: int
    worst: str
    spark: str
    groups: tuple[GroupView, ...]
    failing: tuple[RowView, ...]
    failing_cut: int
    unmatched: int
    unexplained: int
    coverage: str
    sides: tuple[differences.SideView, ...]
    repeat: str
    tokens: tuple[tokens.TokensView, ...]


@dataclass(frozen=True)
class CellView:
    """One cell of the matrix."""

    anchor: str
    verdict: Verdict
    counts: str
    worst: str


@dataclass(frozen=True)
class MatrixView:
    """Cases by pairs; a cell is None where that case did not run."""

    pairs: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[CellView | None, ...]], ...]


@dataclass(frozen=True)
class ReportView:
    """Everything but the charts and the passing rows."""

    verdict: Verdict
    headline: str
    counts: tuple[tuple[str, str], ...]
    divergence: DivergenceView | None
    undeclared: tuple[differences.UnmatchedView, ...]
    margin: Margin | None
    """Only of a pass: a run that failed is near no limit."""
    margin_case: str
    margin_anchor: str
    errors: tuple[str, ...]
    featured: int | None
    matrix: MatrixView
    cases: tuple[CaseView, ...]
    unmatched: tuple[differences.UnmatchedView, ...]
    unmatched_cut: int
    structures: tuple[StructureView, ...]
    unintended: tuple[ChangeView, ...]
    costs: CostsView
    engine: EngineView | None
    overrides: tuple[str, ...]
    reuse: str
    """What was taken from a cache; empty where nothing was."""
    replaced: tuple[ReplacedView, ...]
    patches: tuple[PatchView, ...]
    precision: tuple[judgements.PrecisionView, ...]
    emulated: tuple[differences.EmulationView, ...]
    sources: tuple[differences.SourceView, ...]
    provenance: tuple[tuple[str, str], ...]
    created: str
    command: str
    schema_version: int


def build(result: ComparisonResult) -> ReportView:
    """Returns the view of a result; the same result always gives the same view."""
    cases = tuple(_case(case, n) for n, case in enumerate(result.cases, 1))
    passed = result.verdict == "pass"
    margins = [rows.margin(case.layers) if passed else None for case in result.cases]
    featured = _featured(result, margins)
    nearest = max(
        (m for m in margins if m), key=lambda margin: margin.used, default=None
    )
    place = margins.index(nearest) if nearest else 0
    unmatched = differences.unmatched(result.cases)
    return ReportView(
        verdict=result.verdict,
        headline=judgements.headline(result),
        counts=_counts(result, cases),
        divergence=first_divergence(result),
        undeclared=tuple(item for item in unmatched if not item.explained),
        margin=nearest,
        margin_case=cases[place].id if nearest else "",
        margin_anchor=_row_anchor(result.cases[place], place, nearest.position)
        if nearest
        else "",
        errors=_errors(result),
        featured=featured,
        matrix=_matrix(cases),
        cases=cases,
        unmatched=unmatched[: differences.LIST_LIMIT],
        unmatched_cut=max(0, len(unmatched) - differences.LIST_LIMIT),
        structures=structures.structures(result.cases),
        unintended=structures.undeclared(result.cases),
        costs=costs.costs(result),
        engine=engine.engine(result.engine),
        overrides=judgements.overrides(result),
        reuse=judgements.reuse(result),
        replaced=replaced.replaced(result),
        patches=replaced.patches(result),
        precision=judgements.precision(result),
        emulated=differences.emulated(result),
        sources=differences.sources(result.provenance),
        provenance=differences.provenance(result),
        created=labels.plain(result.provenance.get("created", "unknown")),
        command=labels.plain(result.provenance.get("command", ""), 2000),
        schema_version=result.schema_version,
    )


def _counts(
    result: ComparisonResult, cases: Sequence[CaseView]
) -> tuple[tuple[str, str], ...]:
    s = result.summary
    return (
        ("passed", f"{s.passed:,}"),
        ("failed", f"{s.failed:,}"),
        ("declared unmatched", f"{s.unmatched:,}"),
        ("bit-equal", f"{sum(case.bit_equal for case in cases):,}"),
        *judgements.total_coverage(result.cases),
        ("case" if len(cases) == 1 else "cases", f"{len(cases):,}"),
    )


def _errors(result: ComparisonResult) -> tuple[str, ...]:
    erred = [case for case in result.cases if case.verdict == "error"]
    texts = [f"{case.id}: {case.reason}" for case in erred]
    more = labels.texts(result.provenance.get("errors"))
    texts += [text for text in more if not any(text in known for known in texts)]
    return tuple(labels.paragraph(text, 2000) for text in dict.fromkeys(texts))


def _featured(result: ComparisonResult, margins: Sequence[Margin | None]) -> int | None:
    """The case on the first screen: where it diverges, else nearest to a limit."""
    drawable = [i for i, case in enumerate(result.cases) if case.layers]
    if not drawable:
        return None
    first = result.first_divergence
    for i in drawable:
        if first and result.cases[i].id == first.case:
            return i

    def interest(i: int) -> tuple[bool, float]:
        margin = margins[i]
        return result.cases[i].verdict != "pass", margin.used if margin else 0.0

    return max(drawable, key=interest)


def _case(case: CaseComparison, number: int) -> CaseView:
    anchor = f"case-{number}"
    row_anchors = rows.anchors(anchor, case.layers)
    failed = sum(layer.verdict != "pass" for layer in case.layers)
    failing = rows.failing(case.layers, row_anchors, FAILING_LIMIT)
    metrics = [layer.metrics for layer in case.layers if layer.metrics]
    worst = rows.largest(metrics, lambda m: m.normalized_l2_error)
    return CaseView(
        anchor=anchor,
        id=labels.clean(case.id),
        name=labels.clean(case.name),
        dtype=labels.clean(case.dtype, 40),
        old=labels.clean(case.old, 80),
        new=labels.clean(case.new, 80),
        oracle=labels.clean(case.oracle or "none", 80),
        verdict=case.verdict,
        reason=labels.clean(case.reason, 600),
        description=labels.clean(case.description, 400),
        grids=labels.clean(labels.grids(case.grid_thw)),
        counts=_case_counts(case, failed),
        rows=len(case.layers),
        failed=failed,
        bit_equal=sum(m.bit_equal for m in metrics),
        worst=labels.scientific(worst),
        spark=_spark(case.layers),
        groups=rows.groups(case.layers, row_anchors),
        failing=failing,
        failing_cut=failed - len(failing),
        unmatched=len(case.unmatched),
        unexplained=sum(not item.explained for item in case.unmatched),
        coverage=judgements.coverage(case.coverage),
        sides=differences.sides(case),
        repeat=labels.clean(case.repeat, 2000),
        tokens=tokens.views(case),
    )


def _row_anchor(case: CaseComparison, place: int, position: int) -> str:
    return rows.anchors(f"case-{place + 1}", case.layers)[position]


def _case_counts(case: CaseComparison, failed: int) -> str:
    if not case.layers:
        return "no rows"
    unexplained = sum(not item.explained for item in case.unmatched)
    extra = f", {unexplained} undeclared" if unexplained else ""
    if failed:
        return f"{failed:,} of {len(case.layers):,} failed{extra}"
    return f"{len(case.layers):,} rows{extra}"


def _matrix(cases: Sequence[CaseView]) -> MatrixView:
    pairs = tuple(dict.fromkeys(f"{c.old} → {c.new}" for c in cases))
    cells = {
        (c.name, c.dtype, f"{c.old} → {c.new}"): CellView(
            c.anchor, c.verdict, c.counts, c.worst
        )
        for c in cases
    }
    lines = dict.fromkeys((c.name, c.dtype) for c in cases)
    return MatrixView(
        pairs,
        tuple(
            (name, dtype, tuple(cells.get((name, dtype, pair)) for pair in pairs))
            for name, dtype in lines
        ),
    )


def _spark(layers: Sequence[LayerComparison]) -> str:
    """Error by block as eight heights on a log scale; ``✗`` where a row failed."""
    worst: dict[str, float] = {}
    failed: Counter[str] = Counter()
    for name, layer in zip(rows.group_names(layers), layers, strict=True):
        error = layer.metrics.normalized_l2_error if layer.metrics else math.inf
        worst[name] = max(worst.get(name, 0.0), math.inf if error != error else error)
        failed[name] += layer.verdict != "pass"
    logs = [math.log10(min(v, 1e300)) for v in worst.values() if 0 < v < math.inf]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    marks = "▁▂▃▄▅▆▇█"
    span = max(high - low, 1.0)
    return "".join(
        "✗"
        if failed[name]
        else "·"
        if value == 0
        else marks[min(7, int((math.log10(min(value, 1e300)) - low) / span * 8))]
        for name, value in worst.items()
    )
