# SPDX-License-Identifier: Apache-2.0
"""A series for another release as files, beside the project's own until adopted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from patchseries.apply.classify import Classification
from patchseries.apply.commits import build_commits
from patchseries.errors import PatchseriesError
from patchseries.git import Git
from patchseries.project import Project
from patchseries.rebase.proven import proven, unproven
from patchseries.rebase.rebase import Analysis, Moved, analyse
from patchseries.rebase.trial import Say, silent
from patchseries.scratch import scratch
from patchseries.series.export import commits_after, export
from patchseries.series.folder import read_lines
from patchseries.series.series import AUTHOR, DATE, SeriesLine, format_series_file
from patchseries.tree.places import open_target
from patchseries.tree.target import PackageTarget


@dataclass
class Proposal:
    """A rebased series, not yet written.

    Attributes:
        files: patch file of each patch that is carried over, in order.
        range_diff: git's own comparison of the two series; empty when nothing is
            carried over.
        whole: whether `files` are whole patches; an installed package takes parts.
    """

    name: str
    moved: tuple[Moved, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    range_diff: str = ""
    whole: bool = True

    @property
    def open(self) -> list[Moved]:
        """What a person has to write."""
        return [m for m in self.moved if m.open]

    @property
    def unproven(self) -> list[Moved]:
        """What is carried over or left out on the word of its text alone."""
        return [m for m in self.moved if m.unproven]


def propose(
    project: Project,
    name: str,
    tree: Path,
    full: bool = False,
    tests: bool = False,
    say: Say = silent,
) -> Proposal:
    """Propose a series for the tree at `tree`.

    Args:
        full: range-diff with the differences, not only its summary.
        tests: run those of each patch that is carried over.
        say: told how far it is.
    """
    target = open_target(tree)
    with scratch(*target.objects, project.objects(name)) as git:
        found = analyse(project, git, name, target, say)
        moved = unproven(found, "its tests were not run")
        if tests:
            moved = proven(project, git, found, say)
        whole = not isinstance(target, PackageTarget)
        proposal = Proposal(name, moved, whole=whole)
        _carry(git, found, proposal, full)
        return proposal


def _carry(git: Git, found: Analysis, proposal: Proposal, full: bool) -> None:
    new = Classification(found.series, found.verdicts, found.start, 1)
    ranges = [_commits(git, found.own), _commits(git, new)]
    if any(base == tip for base, tip in ranges):
        return
    kept = [m.slug for m in found.moved if m.carried]
    files = export(git, ranges[1][0], commits_after(git, *ranges[1]))
    proposal.files = dict(zip(kept, files, strict=True))
    options = ["--no-color"] if full else ["--no-color", "--no-patch"]
    text = git.output("range-diff", *options, *map("..".join, ranges))
    proposal.range_diff = text.decode(errors="replace").rstrip()


def _commits(git: Git, result: Classification) -> tuple[str, str]:
    """Base and tip of commits that hold only the series' own files."""
    git("read-tree", "--empty")
    git.set_index({path: s for path, s in result.before.items() if s})
    tree = git("write-tree", "--missing-ok")
    base = git.commit(tree, None, "base\n", AUTHOR, DATE)
    return base, build_commits(git, base, result)


def write_proposal(project: Project, proposal: Proposal, folder: Path) -> None:
    """Write a new series folder; what is left out stays named in its `series`."""
    if folder.exists() and any(folder.iterdir()):
        raise PatchseriesError(
            "folder-exists",
            f"{folder} is not empty",
            "remove it, or give another one: `--out FOLDER`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    old, rest = read_lines(project.patches / proposal.name)
    fate = {m.slug: m for m in proposal.moved}
    lines: list[SeriesLine] = []
    waiting: list[str] = []
    for line in old:
        moved = fate[line.slug]
        waiting += line.comments
        if moved.open or line.slug not in proposal.files:
            text = re.sub(r"\s+", " ", moved.said)
            waiting.append(f"# {line.slug}: {moved.outcome} {text}".rstrip())
        if line.slug in proposal.files:
            lines.append(SeriesLine(line.slug, tuple(waiting)))
            waiting = []
    for slug, data in proposal.files.items():
        (folder / f"{slug}.patch").write_bytes(data)
    (folder / "series").write_text(format_series_file(lines, (*waiting, *rest)))
