# SPDX-License-Identifier: Apache-2.0
"""ComparisonResult -> what a report shows, in words; every format renders this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import (
    changes,
    costs,
    differences,
    engine,
    judgements,
    labels,
    maps,
    replaced,
    rows,
    structures,
)
from mmparity.report.cases import CaseView, MatrixView, case_view, matrix
from mmparity.report.costs import CostsView
from mmparity.report.divergence import DivergenceView, first_divergence
from mmparity.report.engine import EngineView
from mmparity.report.replaced import PatchView, ReplacedView
from mmparity.report.rows import Margin
from mmparity.report.structures import ChangeView, StructureView
from mmparity.types.comparison import ComparisonResult
from mmparity.types.verdict import Verdict


@dataclass(frozen=True)
class NearestView:
    """The row that is nearest to a limit, of all cases."""

    margin: Margin
    case: str
    anchor: str


@dataclass(frozen=True)
class ReportView:
    """Everything but the charts and the passing rows."""

    verdict: Verdict
    headline: str
    counts: tuple[tuple[str, str], ...]
    divergence: DivergenceView | None
    undeclared: tuple[differences.UnmatchedView, ...]
    nearest: NearestView | None
    """Only of a pass: a run that failed is near no limit."""
    errors: tuple[str, ...]
    featured: int | None
    matrix: MatrixView
    maps: tuple[maps.MapView, ...]
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
    since: judgements.SinceView | None
    replaced: tuple[ReplacedView, ...]
    unproven: str
    """What a pass leaves open; empty of another verdict."""
    patches: tuple[PatchView, ...]
    precision: tuple[judgements.PrecisionView, ...]
    emulated: tuple[differences.EmulationView, ...]
    sources: tuple[differences.SourceView, ...]
    changes: tuple[changes.TreeView, ...]
    provenance: tuple[tuple[str, str], ...]
    created: str
    command: str
    schema_version: int


def build(result: ComparisonResult) -> ReportView:
    """Returns the view of a result; the same result always gives the same view."""
    cases = tuple(case_view(case, n) for n, case in enumerate(result.cases, 1))
    passed = result.verdict == "pass"
    margins = [rows.margin(case.layers) if passed else None for case in result.cases]
    unmatched = differences.unmatched(result.cases)
    old_to_new, left_out = replaced.replaced(result), result.provenance.left_out
    return ReportView(
        verdict=result.verdict,
        headline=judgements.headline(result),
        counts=_counts(result, cases),
        divergence=first_divergence(result),
        undeclared=tuple(item for item in unmatched if not item.explained),
        nearest=_nearest(result, cases, margins),
        errors=_errors(result),
        featured=_featured(result, margins),
        matrix=matrix(cases),
        maps=maps.maps(result.cases),
        cases=cases,
        unmatched=unmatched[: differences.LIST_LIMIT],
        unmatched_cut=max(0, len(unmatched) - differences.LIST_LIMIT),
        structures=structures.structures(result.cases),
        unintended=structures.undeclared(result.cases),
        costs=costs.costs(result),
        engine=engine.engine(result.engine),
        overrides=judgements.overrides(result),
        reuse=judgements.reuse(result),
        since=judgements.since(result),
        replaced=old_to_new,
        unproven=replaced.unproven(old_to_new, left_out) if passed else "",
        patches=replaced.patches(result),
        precision=judgements.precision(result),
        emulated=differences.emulated(result),
        sources=differences.sources(result),
        changes=changes.trees(result),
        provenance=differences.provenance(result),
        created=labels.plain(result.provenance.created or "unknown"),
        command=labels.plain(result.provenance.command, 2000),
        schema_version=result.schema_version,
    )


def _nearest(
    result: ComparisonResult,
    cases: Sequence[CaseView],
    margins: Sequence[Margin | None],
) -> NearestView | None:
    nearest = max(filter(None, margins), key=lambda margin: margin.used, default=None)
    if nearest is None:
        return None
    place = margins.index(nearest)
    case = cases[place]
    anchors = rows.anchors(case.anchor, result.cases[place].layers)
    return NearestView(nearest, case.id, anchors[nearest.position])


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
    more = result.provenance.errors
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
