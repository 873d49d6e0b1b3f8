# SPDX-License-Identifier: Apache-2.0
"""What both sides are made of: each difference beside the patch that intends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmparity.report import labels
from mmparity.types.comparison import CaseComparison, StructuralDifference

LIST_LIMIT = 400
"""Differences of one pair; what is beyond is counted on the page."""
UPSTREAM = "upstream"


@dataclass(frozen=True)
class ChangeView:
    """One structural difference."""

    kind: str
    path: str
    old: str
    new: str


@dataclass(frozen=True)
class IntentView:
    """The differences that one patch makes for one reason; ``patch`` may be empty."""

    verdict: str
    patch: str
    """Slug, for a link; empty where no patch of the series is meant."""
    by: str
    why: str
    changes: tuple[ChangeView, ...]


@dataclass(frozen=True)
class StructureView:
    """The structural differences of one pair of implementations."""

    title: str
    summary: str
    undeclared: int
    intents: tuple[IntentView, ...]
    cut: int


def structures(cases: Iterable[CaseComparison]) -> tuple[StructureView, ...]:
    """Returns the differences of each pair, equal ones once, undeclared ones first."""
    found: dict[tuple[str, tuple[StructuralDifference, ...]], list[CaseComparison]] = {}
    for case in cases:
        pair = f"{labels.clean(case.old, 80)} → {labels.clean(case.new, 80)}"
        if case.structure:
            found.setdefault((pair, case.structure), []).append(case)
    views = [_view(pair, items, members) for (pair, items), members in found.items()]
    return tuple(sorted(views, key=lambda view: not view.undeclared))


def undeclared(cases: Iterable[CaseComparison]) -> tuple[ChangeView, ...]:
    """Returns what no patch intends, each once over all cases."""
    items = dict.fromkeys(
        item
        for case in cases
        for item in case.structure
        if item.verdict == "undeclared"
    )
    return tuple(_change(item) for item in items)


def _view(
    pair: str, items: Sequence[StructuralDifference], cases: Sequence[CaseComparison]
) -> StructureView:
    groups: dict[tuple[str, str, str], list[StructuralDifference]] = {}
    for item in items[:LIST_LIMIT]:
        groups.setdefault((item.verdict, item.patch, item.why), []).append(item)
    missing = sum(item.verdict == "undeclared" for item in items)
    return StructureView(
        title=_title(pair, cases),
        summary=_summary(items, missing),
        undeclared=missing,
        intents=tuple(
            sorted(
                (_intent(*key, members) for key, members in groups.items()),
                key=lambda view: (view.verdict != "undeclared", view.patch == ""),
            )
        ),
        cut=max(0, len(items) - LIST_LIMIT),
    )


def _title(pair: str, cases: Sequence[CaseComparison]) -> str:
    """The pair with the models and dtypes of which this is so."""
    models = dict.fromkeys(case.new_meta.model for case in cases if case.new_meta)
    dtypes = dict.fromkeys(case.dtype for case in cases)
    parts = [", ".join(filter(None, models)), ", ".join(dtypes)]
    said = labels.clean(", ".join(filter(None, parts)))
    return f"{pair}, {said}, {labels.count(len(cases), 'case')}"


def _summary(items: Sequence[StructuralDifference], missing: int) -> str:
    total = labels.count(len(items), "difference")
    if any(item.verdict == "not recorded" for item in items):
        return "not compared: a trace does not say what its encoder is made of"
    if any(item.verdict == "not judged" for item in items):
        why = next((item.why for item in items if item.why), "")
        by = f" ({labels.clean(why, 400)})" if why else " by the version that wrote it"
        return f"{total}, not judged{by}"
    if missing:
        return f"{total}, {missing:,} UNDECLARED"
    return f"{total}, all intended"


def _intent(
    verdict: str, patch: str, why: str, members: Sequence[StructuralDifference]
) -> IntentView:
    by = {
        "undeclared": "no patch: it fails the case",
        "not judged": "not judged",
        "not recorded": "not compared",
    }.get(verdict, "vLLM or vllm-ascend itself, between its releases")
    named = "" if patch in ("", UPSTREAM) else labels.clean(patch, 80)
    return IntentView(
        verdict=verdict,
        patch=named,
        by=named or by,
        why=labels.clean(why, 400),
        changes=tuple(_change(item) for item in members),
    )


def _change(item: StructuralDifference) -> ChangeView:
    return ChangeView(
        kind=item.kind,
        path=labels.clean(f"{item.part}: {item.path}{_blocks(item)}"),
        old=labels.clean(item.old),
        new=labels.clean(item.new),
    )


def _blocks(item: StructuralDifference) -> str:
    """The blocks, where one alone is meant; else how many."""
    if not item.blocks:
        return ""
    if len(item.blocks) == 1:
        return f" (block {item.blocks[0]})"
    return f" ({len(item.blocks)} blocks)"
