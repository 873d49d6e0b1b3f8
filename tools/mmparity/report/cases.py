# SPDX-License-Identifier: Apache-2.0
"""Cases as a report shows them: each by itself, and all of them as a matrix."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import differences, judgements, labels, rows, tokens
from mmparity.report.rows import GroupView, RowView
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import LayerComparison
from mmparity.types.verdict import Verdict

EXPECTED = {"identical": "the same bits", "floor": "no more than noise"}
"""What a pair is held to, in words."""
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
    expected: str
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

    pairs: tuple[tuple[str, str], ...]
    """Each pair, and what is expected of it with how many cases keep that."""
    lines: tuple[tuple[str, str, tuple[CellView | None, ...]], ...]


def case_view(case: CaseComparison, number: int) -> CaseView:
    """The view of the case that stands at ``number``, from 1."""
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
        expected=EXPECTED[case.expected],
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


def _case_counts(case: CaseComparison, failed: int) -> str:
    if not case.layers:
        return "no rows"
    unexplained = sum(not item.explained for item in case.unmatched)
    extra = f", {unexplained} undeclared" if unexplained else ""
    return f"{labels.tally(failed, len(case.layers))}{extra}"


def matrix(cases: Sequence[CaseView]) -> MatrixView:
    """Every case and dtype a line, every pair a column."""
    pairs = tuple(dict.fromkeys(f"{c.old} → {c.new}" for c in cases))
    of_pair = [[c for c in cases if f"{c.old} → {c.new}" == pair] for pair in pairs]
    cells = {
        (c.name, c.dtype, f"{c.old} → {c.new}"): CellView(
            c.anchor, c.verdict, c.counts, c.worst
        )
        for c in cases
    }
    lines = dict.fromkeys((c.name, c.dtype) for c in cases)
    return MatrixView(
        tuple(zip(pairs, map(_kept, of_pair), strict=True)),
        tuple(
            (name, dtype, tuple(cells.get((name, dtype, pair)) for pair in pairs))
            for name, dtype in lines
        ),
    )


def _kept(cases: Sequence[CaseView]) -> str:
    expected = " or ".join(sorted({case.expected for case in cases}))
    kept = sum(case.verdict == "pass" for case in cases)
    return f"expected: {expected}; kept in {kept} of {labels.count(len(cases), 'case')}"


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
