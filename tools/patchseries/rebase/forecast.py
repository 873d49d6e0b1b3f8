# SPDX-License-Identifier: Apache-2.0
"""What becomes of each patch on another release, in one word and its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from patchseries.project import Project
from patchseries.proof.results import FAILED, PASSED
from patchseries.rebase.proven import proven, unproven
from patchseries.rebase.rebase import CLAIMED, PARTLY, UPSTREAM, Moved, analyse
from patchseries.rebase.trial import Say, silent
from patchseries.scratch import scratch
from patchseries.tree.places import open_target

APPLIES, MOVED = "applies", "moved"
LANDED, REDUNDANT = "landed", "redundant"
CONFLICTS, BLOCKED = "conflicts", "blocked"
WORDS = (APPLIES, MOVED, LANDED, REDUNDANT, PARTLY, CONFLICTS, BLOCKED)


@dataclass(frozen=True)
class Fate:
    """One patch on another tree.

    Attributes:
        word: one of `WORDS`.
        reason: one line.
        details: signs with their places, places to rewrite.
    """

    slug: str
    word: str
    reason: str
    details: tuple[str, ...] = ()


def forecast(
    project: Project, name: str, tree: Path, tests: bool = False, say: Say = silent
) -> list[Fate]:
    """Judge each patch of a series on the tree at `tree`; neither is changed.

    Args:
        tests: run those of each patch that merges.
        say: told how far it is.
    """
    target = open_target(tree)
    with scratch(*target.objects, project.objects(name)) as git:
        found = analyse(project, git, name, target, say)
        moved = (
            proven(project, git, found, say)
            if tests
            else unproven(found, "its tests were not run")
        )
    return [_fate(one) for one in moved]


def _fate(one: Moved) -> Fate:
    word = _word(one)
    return Fate(one.slug, word, one.said, one.explanation)


def _word(one: Moved) -> str:
    merges = one.text in ("exact", "offset", "three-way")
    status = one.proof.status if one.proof else ""
    if one.outcome == UPSTREAM:
        return REDUNDANT if merges else LANDED
    if one.outcome == CLAIMED:  # no parts are declared: its tests have the word
        return LANDED if status == PASSED else CONFLICTS
    if one.outcome in (PARTLY, BLOCKED):
        return one.outcome
    if not one.carried or status == FAILED:
        return CONFLICTS
    if one.proof and one.proof.dead:
        return REDUNDANT
    return MOVED if one.renamed else APPLIES


def summary(fates: list[Fate]) -> str:
    """How many patches have which fate."""
    counts = Counter(fate.word for fate in fates)
    return ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
