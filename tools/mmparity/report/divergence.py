# SPDX-License-Identifier: Apache-2.0
"""The first divergence in words, with the rows that it lies between."""

from __future__ import annotations

from dataclasses import dataclass

from mmparity.report import labels, rows, structures
from mmparity.report.changes import Edited, beside
from mmparity.types.comparison import (
    CaseComparison,
    ComparisonResult,
    FirstDivergence,
)
from mmparity.types.evidence import CodeAt

CAUSES = 3


@dataclass(frozen=True)
class CodeView:
    """Lines of one side, ready to print."""

    side: str
    module: str
    place: str
    """File and line."""
    text: str
    """With line numbers; empty where it was not read."""


@dataclass(frozen=True)
class DivergenceView:
    """The first divergence, ready to print."""

    case: str
    case_anchor: str
    row_anchor: str
    hook_point: str
    reason: str
    metric: str
    value: str
    allowed: str
    worst_index: str
    """Empty where there are no elements to show."""
    old: str
    new: str
    last_passing: str
    last_passing_anchor: str
    later: str
    where: str
    """Empty in results of older versions."""
    faults: str
    """What differs by itself; empty where new was not fed old's tensors."""
    causes: tuple[str, ...]
    """Structural differences of the case that no patch intends."""
    code: tuple[CodeView, ...]
    """Of both sides at that row."""
    changed: Edited
    """Of that code, or else of the trees."""


def first_divergence(result: ComparisonResult) -> DivergenceView | None:
    """Returns the first divergence with the links to its rows; None on a pass."""
    first = result.first_divergence
    if first is None:
        return None
    ids = [case.id for case in result.cases]
    number = ids.index(first.case) + 1 if first.case in ids else 0
    anchor = f"case-{number}"
    layers = result.cases[number - 1].layers if number else ()
    by_name = dict(
        zip(
            (layer.hook_point for layer in layers),
            rows.anchors(anchor, layers),
            strict=True,
        )
    )
    return DivergenceView(
        case=labels.clean(first.case),
        case_anchor=anchor if number else "cases",
        row_anchor=by_name.get(first.hook_point, anchor if number else "cases"),
        hook_point=labels.clean(first.hook_point),
        reason=labels.clean(first.reason, 400),
        metric=labels.metric(first.exceeded),
        value=labels.scientific(first.value),
        allowed=labels.bound(first.allowed),
        worst_index=labels.index(first.worst_index) if first.worst_index else "",
        old=labels.exact(first.old_at_worst),
        new=labels.exact(first.new_at_worst),
        last_passing=labels.clean(first.last_passing or ""),
        last_passing_anchor=by_name.get(first.last_passing or "", ""),
        later=_later(first),
        where=_where(first),
        faults=_faults(result.cases[number - 1]) if number else "",
        causes=_causes(result.cases[number - 1]) if number else (),
        code=_code(result.cases[number - 1]) if number else (),
        changed=beside(result, result.cases[number - 1]) if number else Edited(),
    )


def _later(first: FirstDivergence) -> str:
    if not first.later_total:
        return "It is the last row of its case."
    total = labels.count(first.later_total, "row")
    return f"{first.later_failing:,} of the {total} after it failed as well."


def _faults(case: CaseComparison) -> str:
    """Every place that differs with old's tensors before it."""
    shown = [
        f"{fault.pattern if len(fault.rows) > 1 else fault.hook_point}"
        + (f" ({len(fault.rows)} rows)" if len(fault.rows) > 1 else "")
        for fault in case.faults
    ]
    return labels.clean(", ".join(shown), 400)


def _causes(case: CaseComparison) -> tuple[str, ...]:
    """What the encoders are made of and nobody declared: it may explain the rows."""
    said = [f"{c.path}: {c.old} → {c.new}" for c in structures.undeclared([case])]
    more = len(said) - CAUSES
    return (*said[:CAUSES], *([f"and {more:,} more"] if more > 0 else []))


def _code(case: CaseComparison) -> tuple[CodeView, ...]:
    return tuple(
        CodeView(
            labels.clean(item.side),
            labels.clean(item.module),
            labels.clean(f"{item.file}:{item.first}", 400),
            _numbered(item),
        )
        for item in case.code
    )


def _numbered(item: CodeAt) -> str:
    lines = [labels.clean(line, 400) for line in item.text.splitlines()]
    return "\n".join(f"{n:5}  {line}" for n, line in enumerate(lines, item.first))


def _where(first: FirstDivergence) -> str:
    """Down to the row, and what lies between it and those that pass."""
    way = " > ".join(first.descent)
    return labels.clean("; ".join(filter(None, (way, first.about))), 400)
