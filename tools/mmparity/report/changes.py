# SPDX-License-Identifier: Apache-2.0
"""What was changed in the trees that ran, the code of the first divergence first."""

from __future__ import annotations

from dataclasses import dataclass

from mmparity.report import labels
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import TreeChanges

MOST_CHARACTERS = 24_000
"""Of all diffs on the page."""
FEW_LINES, FEW_FILES = 6, 3
"""What is shown beside the first divergence."""


@dataclass(frozen=True)
class FileView:
    """A changed file; ``suspect`` where the first divergence runs it."""

    file: str
    diff: str
    suspect: bool


@dataclass(frozen=True)
class TreeView:
    """A tree that is not as it is pinned or patched."""

    tree: str
    summary: str
    files: tuple[FileView, ...]
    cut: int


@dataclass(frozen=True)
class Edited:
    """What was changed, in a line; all of it is empty where nothing was.

    Attributes:
        title: whether the first divergence runs it.
        files: each with the tree that it is in.
        lines: those that were removed and added, where they are few.
    """

    title: str = ""
    files: str = ""
    lines: str = ""


def beside(result: ComparisonResult, case: CaseComparison) -> Edited:
    """The changed files that the first divergence runs; where it runs none, all."""
    run = {item.file for item in case.code}
    found = [(tree.tree, item) for tree in result.changes for item in tree.files]
    suspects = [(tree, item) for tree, item in found if item.file in run]
    if not found:
        return Edited()
    total = len(suspects) or sum(tree.count for tree in result.changes)
    chosen = (suspects or found)[:FEW_FILES]
    named = [f"{item.file} ({tree})" for tree, item in chosen]
    more = [f"and {total - len(chosen):,} more"] if total > len(chosen) else []
    lines = [
        labels.clean(line, 400)
        for _, item in chosen
        for line in item.diff.splitlines()
        if line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- "))
    ]
    few = not more and len(lines) <= FEW_LINES
    return Edited(
        "changed code that it runs" if suspects else "changed in the trees",
        labels.clean(", ".join([*named, *more]), 400),
        "\n".join(lines) if few else "",
    )


def trees(result: ComparisonResult) -> tuple[TreeView, ...]:
    """Each changed tree; files that the first divergence runs come first."""
    first = result.first_divergence
    cases = [case for case in result.cases if first and case.id == first.case]
    run = {item.file for case in cases for item in case.code}
    room = MOST_CHARACTERS
    views = []
    for tree in result.changes:
        files = []
        for item in sorted(tree.files, key=lambda item: item.file not in run):
            if len(item.diff) > room:
                break
            room -= len(item.diff)
            diff = "\n".join(labels.clean(x, 400) for x in item.diff.splitlines())
            files.append(FileView(labels.clean(item.file), diff, item.file in run))
        views.append(
            TreeView(
                labels.clean(tree.tree),
                summary(tree),
                tuple(files),
                tree.count - len(files),
            )
        )
    return tuple(views)


def summary(tree: TreeChanges) -> str:
    """``25 patches + 1 modified file``."""
    modified = labels.count(tree.count, "modified file")
    base = labels.clean(tree.base)
    if not tree.patches:
        return f"{base} + {modified}"
    return f"{base}: {labels.count(tree.patches, 'patch', 'patches')} + {modified}"
