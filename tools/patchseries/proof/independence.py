# SPDX-License-Identifier: Apache-2.0
"""Which patches a patch needs, found by leaving the others out.

Upstream takes patches one by one, so `Depends-on` has to be the truth: with those, and
with nothing else of the series, a patch must apply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from patchseries.apply.classify import try_patch
from patchseries.git import Git, Snapshot
from patchseries.series.lint import Finding, depends_on
from patchseries.series.patch import Patch
from patchseries.series.series import Series


def check_independence(git: Git, series: Series, base: Snapshot) -> Iterator[Finding]:
    """Findings about `Depends-on`.

    Args:
        git: a scratch repository that holds every blob of the series.
        base: the pristine tree's own files.
    """
    declared = {p.slug: closure(series, p) for p in series.patches}
    edges = needed_by_text(git, series, base)
    for number, patch in enumerate(series.patches):
        names = declared[patch.slug]
        missing = [slug for slug in edges[patch.slug] if slug not in names]
        implied = {slug for needed in missing for slug in edges[needed]}
        if missing := [slug for slug in missing if slug not in implied]:
            detail = f"Depends-on lacks {', '.join(missing)}: without, it cannot apply"
            yield Finding(series.name, patch.slug, "depends", detail)
            continue
        below = [p for p in series.patches[:number] if p.slug in names]
        if patch not in applicable(git, [*below, patch], base):
            shown = ", ".join(p.slug for p in below) or "nothing"
            detail = f"does not apply on {shown} alone, which is all of its Depends-on"
            yield Finding(series.name, patch.slug, "depends", detail)


def closure(series: Series, patch: Patch) -> set[str]:
    """What a patch declares to need, directly or through others of the series."""
    direct = {p.slug: depends_on(p) for p in series.patches}
    found: set[str] = set()
    open_ends = list(direct[patch.slug])
    while open_ends:
        slug = open_ends.pop()
        if slug in direct and slug not in found:
            found.add(slug)
            open_ends += direct[slug]
    return found


def needed_by_text(git: Git, series: Series, base: Snapshot) -> dict[str, list[str]]:
    """Per patch, those without which it does not apply."""
    edges: dict[str, list[str]] = {patch.slug: [] for patch in series.patches}
    for left_out in series.patches:
        rest = [patch for patch in series.patches if patch is not left_out]
        fitting = applicable(git, rest, base)
        for patch in rest:
            if patch not in fitting:
                edges[patch.slug].append(left_out.slug)
    return edges


def applicable(git: Git, patches: Sequence[Patch], base: Snapshot) -> Collection[Patch]:
    """Those that apply, one on top of the other; the others are passed over."""
    current, fitting = dict(base), []
    for patch in patches:
        after = exact_or_drifted(git, patch, current)
        if after is not None:
            current |= after
            fitting.append(patch)
    return fitting


def exact_or_drifted(git: Git, patch: Patch, current: Snapshot) -> Snapshot | None:
    """The files after a patch, without git where they are what it was written for."""
    if all(current.get(change.path) == change.old for change in patch.changes):
        return {change.path: change.new for change in patch.changes}
    return try_patch(git, patch, current)
