# SPDX-License-Identifier: Apache-2.0
"""A series for one release, merged into another one by machine: never edited by hand.

`derived_from` in the pins names the series that is the source of truth, and `without`
those of its patches that the other release has no use for.
"""

from __future__ import annotations

from dataclasses import replace

from patchseries.apply.classify import (
    Classification,
    PatchVerdict,
    classify,
    judge_drift,
)
from patchseries.apply.commits import build_commits
from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import Source, read_sources
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.export import commits_after, export
from patchseries.series.folder import read_series
from patchseries.series.patch import Patch, parse_patch
from patchseries.series.series import Series

_MERGED = ("exact", "offset", "three-way")


def origins(project: Project) -> dict[str, str]:
    """Each tree whose series is made from another one -> that one."""
    sources = read_sources(project.pins).values()
    return {one.tree_name: one.derived_from for one in sources if one.derived_from}


def derive(project: Project, name: str, origin: Series | None = None) -> list[Patch]:
    """The series of the tree `name`, made anew from the one that its pin names.

    Args:
        origin: that series, where it is about to be written.

    Raises:
        PatchseriesError: a patch does not merge, or a tree is not there.
    """
    sources = read_sources(project.pins)
    source = sources[name]
    origin = origin or read_series(project, source.derived_from)
    _require_slugs(source, origin)
    trees = [
        require_pristine(project, one) for one in (source, sources[source.derived_from])
    ]
    with scratch(*(project.objects(tree.name) for tree in trees)) as git:
        there, own = (Git(tree).states("HEAD", origin.paths) for tree in trees)
        classify(git, origin, own)  # writes the files between patches: bases of merges
        kept = tuple(p for p in origin.patches if p.slug not in source.without)
        verdicts = _merge(git, name, kept, there)
        base = Git(trees[0])("rev-parse", "HEAD")
        merged = Classification(replace(origin, patches=kept), verdicts, there, 1)
        tip = build_commits(git, base, merged)
        files = export(git, base, commits_after(git, base, tip))
        slugs = [patch.slug for patch in kept]
        return [parse_patch(s, data) for s, data in zip(slugs, files, strict=True)]


def _merge(
    git: Git, name: str, patches: tuple[Patch, ...], before: Snapshot
) -> tuple[PatchVerdict, ...]:
    current, verdicts = dict(before), []
    for patch in patches:
        strange = [c.path for c in patch.changes if current.get(c.path) != c.old]
        if strange:
            verdict = judge_drift(git, patch, current, strange)
        else:
            after = {change.path: change.new for change in patch.changes}
            verdict = PatchVerdict(patch.slug, "exact", after=after)
        if verdict.outcome not in _MERGED or not verdict.after:
            raise PatchseriesError(
                "not-derived",
                f"{patch.slug} does not merge into {name}: {verdict.outcome}"
                f" {verdict.detail}".rstrip(),
                "write it so that it merges, or name it in `without` of that pin",
            )
        current |= verdict.after
        verdicts.append(verdict)
    return tuple(verdicts)


def _require_slugs(source: Source, origin: Series) -> None:
    known = {patch.slug for patch in origin.patches}
    if unknown := sorted(set(source.without) - known):
        raise PatchseriesError(
            "bad-pins",
            f"{source.tree_name}: without {unknown[0]!r}, which {origin.name} has not",
        )
