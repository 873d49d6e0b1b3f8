# SPDX-License-Identifier: Apache-2.0
"""A series onto another release or checkout: a proposal in a folder of its own.

Neither the series nor the other tree is changed. Only the files that the series
touches are looked at, so that the tree may be an sdist as well as a clone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from patchseries.apply import build_commits
from patchseries.classify import (
    Classification,
    PatchVerdict,
    Snapshot,
    classify,
    judge_drift,
)
from patchseries.conflicts import explain
from patchseries.errors import PatchseriesError
from patchseries.export import commits_after, export, patch_id
from patchseries.fetch import require_pristine
from patchseries.folder import read_lines, read_series
from patchseries.git import Git, State, scratch
from patchseries.independence import needed_by_text
from patchseries.project import Project
from patchseries.removal import landed
from patchseries.series import (
    AUTHOR,
    DATE,
    Patch,
    Series,
    SeriesLine,
    format_series_file,
)
from patchseries.sources import read_sources
from patchseries.target import GitTarget, Target, open_target

CARRIED = ("exact", "offset", "three-way")
_LOOKED_BACK = 5000  # commits, for changes that upstream has taken as they are


@dataclass(frozen=True)
class Moved:
    """What became of one patch; `explanation` says where a conflict is."""

    slug: str
    outcome: str
    detail: str = ""
    explanation: tuple[str, ...] = ()


@dataclass
class Proposal:
    """A rebased series, not yet written.

    Attributes:
        files: patch file of each patch that is carried over, in order.
        range_diff: git's own comparison of the two series.
    """

    name: str
    moved: list[Moved]
    files: dict[str, bytes] = field(default_factory=dict)
    range_diff: str = ""

    @property
    def open(self) -> list[Moved]:
        """What a person has to look at."""
        return [m for m in self.moved if m.outcome not in (*CARRIED, "upstream")]


def rebase(project: Project, name: str, tree: Path, full: bool = False) -> Proposal:
    """Try a series on the tree at `tree`.

    Args:
        full: range-diff with the differences, not only its summary.
    """
    series = read_series(project, name)
    source = read_sources(project.pins).get(name)
    if source is None:
        raise PatchseriesError("unknown-source", f"{name} is no pinned tree")
    pristine = require_pristine(project, source)
    target = open_target(tree)
    with scratch(*target.objects, project.objects(name)) as git:
        before = Git(pristine).states("HEAD", series.paths)
        own = classify(git, series, before)
        if own.state != "not-applied":
            raise PatchseriesError(
                "broken-series", f"{name} does not apply to its own tree",
                f"patchseries check --series {name}",
            )  # fmt: skip
        start = target.snapshot(series.paths)
        target.load(git, start)
        if not any(start.values()):
            raise PatchseriesError(
                "foreign-directory", f"{tree} has none of the files of {name}"
            )
        verdicts, moved = _move(git, target, series, before, start)
        proposal = Proposal(name, moved)
        old = _commits(git, own)
        new = _commits(git, Classification(series, tuple(verdicts), start, 1))
        if old[1] != old[0] and new[1] != new[0]:
            kept = [m.slug for m in moved if m.outcome in CARRIED]
            files = export(git, new[0], commits_after(git, *new))
            proposal.files = dict(zip(kept, files, strict=True))
        options = ["--no-color"] if full else ["--no-color", "--no-patch"]
        ranges = ["..".join(old), "..".join(new)]
        proposal.range_diff = git("range-diff", *options, *ranges)
        return proposal


def _commits(git: Git, result: Classification) -> tuple[str, str]:
    """Base and tip of commits that hold only the series' own files."""
    git("read-tree", "--empty")
    git.set_index({path: s for path, s in result.before.items() if s})
    tree = git("write-tree", "--missing-ok")
    base = git.commit(tree, None, "base\n", AUTHOR, DATE)
    return base, build_commits(git, base, result)


def _move(
    git: Git, target: Target, series: Series, before: Snapshot, start: Snapshot
) -> tuple[list[PatchVerdict], list[Moved]]:
    edges = needed_by_text(git, series, before)
    taken = _taken_upstream(target, series)
    read = partial(_read, git, start)
    current, failed = dict(start), set[str]()
    verdicts, moved = [], []
    for patch in series.patches:
        verdict = PatchVerdict(patch.slug, "upstreamed", after={})
        if commit := taken.get(patch_id(git, patch.data)):
            done = Moved(patch.slug, "upstream", f"is commit {commit[:12]}")
        elif landed(patch, read):
            marker = patch.trailer("Remove-when")
            done = Moved(patch.slug, "upstream", f"Remove-when holds: {marker}")
        else:
            verdict = _verdict(git, patch, current)
            blockers = [slug for slug in edges[patch.slug] if slug in failed]
            done = _moved(git, target, patch, verdict, current, blockers)
        carried = done.outcome in CARRIED
        if not carried:
            verdict = PatchVerdict(patch.slug, verdict.outcome, verdict.detail, {})
            failed |= {patch.slug} if done.outcome != "upstream" else set()
        current |= verdict.after or {}
        verdicts.append(verdict)
        moved.append(done)
    return verdicts, moved


def _verdict(git: Git, patch: Patch, current: Snapshot) -> PatchVerdict:
    if all(current.get(change.path) == change.old for change in patch.changes):
        after = {change.path: change.new for change in patch.changes}
        return PatchVerdict(patch.slug, "exact", after=after)
    strange = [c.path for c in patch.changes if current.get(c.path) != c.old]
    return judge_drift(git, patch, current, strange)


def _moved(
    git: Git,
    target: Target,
    patch: Patch,
    verdict: PatchVerdict,
    current: Snapshot,
    blockers: Sequence[str],
) -> Moved:
    if verdict.outcome == "upstreamed":
        return Moved(patch.slug, "upstream", "its change is there")
    if verdict.outcome in CARRIED:
        return Moved(patch.slug, verdict.outcome, verdict.detail)
    if blockers:
        return Moved(patch.slug, "blocked", f"needs {', '.join(blockers)}")
    return Moved(
        patch.slug, "conflict", "", tuple(explain(git, target, patch, current))
    )


def _read(git: Git, states: Mapping[str, State], path: str) -> bytes | None:
    state = states.get(path)
    return git.output("cat-file", "blob", state[1]) if state else None


def _taken_upstream(target: Target, series: Series) -> dict[str, str]:
    """Content id -> commit, of what touched the series' files in a clone's history."""
    if not isinstance(target, GitTarget):
        return {}
    log = target.git.raw(
        "log", "-p", "--no-merges", "--full-index", "--no-renames", "--no-textconv",
        "--no-ext-diff", f"--max-count={_LOOKED_BACK}", "HEAD", "--", *series.paths,
    )  # fmt: skip
    if log.returncode:
        return {}  # a clone without its blobs: the other signs still count
    lines = target.git("patch-id", "--stable", stdin=log.stdout).splitlines()
    return {content: commit for content, commit in map(str.split, lines)}


def write_proposal(project: Project, proposal: Proposal, folder: Path) -> None:
    """Write a new series folder; what is left out stays named in its `series`."""
    if folder.exists() and any(folder.iterdir()):
        raise PatchseriesError(
            "folder-exists", f"{folder} is not empty", "give another one: --out FOLDER"
        )
    folder.mkdir(parents=True, exist_ok=True)
    old, rest = read_lines(project.patches / proposal.name)
    fate = {m.slug: m for m in proposal.moved}
    lines: list[SeriesLine] = []
    waiting: list[str] = []
    for line in old:
        waiting += line.comments
        if line.slug in proposal.files:
            lines.append(SeriesLine(line.slug, tuple(waiting)))
            waiting = []
        else:
            moved = fate[line.slug]
            text = re.sub(r"\s+", " ", moved.detail)
            waiting.append(f"# {line.slug}: {moved.outcome} {text}".rstrip())
    for slug, data in proposal.files.items():
        (folder / f"{slug}.patch").write_bytes(data)
    (folder / "series").write_text(format_series_file(lines, (*waiting, *rest)))
