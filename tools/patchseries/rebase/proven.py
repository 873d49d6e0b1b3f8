# SPDX-License-Identifier: Apache-2.0
"""An analysis with what the patches' tests say on the other tree."""

from __future__ import annotations

from dataclasses import replace

from patchseries.errors import PatchseriesError
from patchseries.git import Git
from patchseries.pins.sources import Source, read_sources
from patchseries.project import Project
from patchseries.rebase.rebase import CLAIMED, Analysis, Moved
from patchseries.rebase.trial import Say, not_run, trial


def proven(project: Project, git: Git, found: Analysis, say: Say) -> tuple[Moved, ...]:
    """The same patches, with what their tests say on the other tree.

    Nothing is proven, and said so, where this environment cannot run them.
    """
    steps = list(zip(found.series.patches, found.verdicts, found.moved, strict=True))
    moved: list[Moved] = []
    source = _environment(project, found)
    try:
        with trial(project, git, found.target, source, found.series) as bench:
            for patch, verdict, one in steps:
                after = verdict.after or {}
                if one.carried or one.outcome == CLAIMED:
                    say(f"{patch.slug}: its tests on {found.target.root}")
                if one.carried:
                    one = replace(one, proof=bench.of_carried(patch, after))
                elif one.outcome == CLAIMED:
                    one = replace(one, proof=bench.of_upstream(patch))
                moved.append(one)
                bench.step(after)
    except PatchseriesError as error:
        return unproven(found, str(error.args[0]))
    return tuple(moved)


def unproven(found: Analysis, why: str) -> tuple[Moved, ...]:
    """The same patches, said to be text only where tests would prove something."""
    return tuple(
        replace(m, proof=not_run(why)) if m.carried or m.outcome == CLAIMED else m
        for m in found.moved
    )


def _environment(project: Project, found: Analysis) -> Source:
    """The pin that says how tests run: the other tree's own, else the series'."""
    for source in read_sources(project.pins).values():
        if source.tests and project.pristine(source.tree_name) == found.target.root:
            return source
    return found.source
