# SPDX-License-Identifier: Apache-2.0
"""The code of a run's first failing rows, read from the trees that ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmparity.compare.evidence.code import changes_of, with_text
from mmparity.project import ROOT, SOURCES
from mmparity.run.plan import Plan
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import TreeChanges

WITH_TEXT = 4
"""Failing cases whose code is kept as text: the others fail at the same places."""


def with_code(result: ComparisonResult, plans: Sequence[Plan]) -> ComparisonResult:
    """The result with the text of its code, and the changes of its trees."""
    trees = {name: tree for plan in plans for name, tree in plan.trees.items()}
    failing = [case.id for case in result.cases if case.code][:WITH_TEXT]
    cases = tuple(
        _with_text(case, trees) if case.id in failing else case for case in result.cases
    )
    return replace(result, cases=cases, changes=tree_changes(plans))


def _with_text(
    case: CaseComparison, trees: dict[str, dict[str, str]]
) -> CaseComparison:
    sides = {"old": trees.get(case.old, {}), "new": trees.get(case.new, {})}
    code = tuple(with_text(item, sides[item.side]) for item in case.code)
    return replace(case, code=code)


def tree_changes(plans: Sequence[Plan]) -> tuple[TreeChanges, ...]:
    """Of each folder once, whichever implementations run from it."""
    folders: dict[str, tuple[str, str]] = {}
    for plan in plans:
        for name, sources in plan.trees.items():
            for source, folder in sources.items():
                default = plan.default_trees[name][source]
                folders.setdefault(folder, (f"{name}:{source}", default))
    found = (
        changes_of(place, Path(folder), SOURCES, default, _patches(default))
        for folder, (place, default) in folders.items()
    )
    return tuple(item for item in found if item is not None)


def _patches(default: str) -> int:
    """Number of patches in the series of a default tree; 0 of a pristine one."""
    series = ROOT / "patches" / Path(default).name / "series"
    if not default.startswith("patched/") or not series.is_file():
        return 0
    lines = [line.partition("#")[0].strip() for line in series.read_text().splitlines()]
    return sum(bool(line) for line in lines)
