# SPDX-License-Identifier: Apache-2.0
"""What a series is on another release or checkout, patch by patch.

Neither the series nor the other tree is changed. Only the files that the series
touches are looked at, so that the tree may be an sdist as well as a clone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from patchseries.apply.classify import (
    Classification,
    PatchVerdict,
    classify,
    judge_drift,
)
from patchseries.apply.package import in_scope
from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot, State
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import Source, read_sources
from patchseries.project import Project
from patchseries.proof.independence import needed_by_text
from patchseries.proof.results import FAILED, PASSED
from patchseries.rebase.conflicts import explain
from patchseries.rebase.elsewhere import Elsewhere
from patchseries.rebase.trial import Proof, Say, not_run, trial
from patchseries.series.export import patch_id
from patchseries.series.folder import read_series
from patchseries.series.patch import Patch
from patchseries.series.removal import Sign, landed_signs
from patchseries.series.series import Series
from patchseries.tree.places import require_package
from patchseries.tree.target import GitTarget, Target

CARRIED = ("exact", "offset", "three-way")
UPSTREAM, CLAIMED = "upstream", "upstream?"
_LOOKED_BACK = 5000  # commits, for changes that upstream has taken as they are


@dataclass(frozen=True)
class Moved:
    """What became of one patch.

    Attributes:
        outcome: exact, offset or three-way: carried over, as text; upstream; upstream?
            where `Remove-when` alone says so; conflict; blocked.
        explanation: where a conflict is, and what of the patch is there.
        proof: what the patch's tests say, where its outcome needs one.
    """

    slug: str
    outcome: str
    detail: str = ""
    explanation: tuple[str, ...] = ()
    proof: Proof | None = None

    @property
    def carried(self) -> bool:
        return self.outcome in CARRIED

    @property
    def open(self) -> bool:
        """Whether a person has to write something."""
        if self.carried:
            return self.proof is not None and self.proof.status == FAILED
        return self.outcome not in (UPSTREAM, CLAIMED)

    @property
    def unproven(self) -> bool:
        """Whether a person has to believe something."""
        proven = self.proof is not None and self.proof.status == PASSED
        return self.outcome != UPSTREAM and not self.open and not proven

    @property
    def said(self) -> str:
        """The detail, with what the tests say."""
        parts = [self.detail, self.proof.text if self.proof else ""]
        return "; ".join(filter(None, parts))


@dataclass(frozen=True)
class Analysis:
    """A series against another tree; `verdicts` hold the files after each patch.

    Attributes:
        own: the series on the tree that it is written for.
        start: what the other tree holds at the series' paths.
    """

    source: Source
    series: Series
    target: Target
    own: Classification
    start: Snapshot
    verdicts: tuple[PatchVerdict, ...]
    moved: tuple[Moved, ...]


def analyse(project: Project, git: Git, name: str, target: Target) -> Analysis:
    """Find out what becomes of each patch of a series on another tree, as text.

    Args:
        git: a scratch repository that reads the objects of both trees.
    """
    source = read_sources(project.pins).get(name)
    series = in_scope(read_series(project, name), target)
    require_package(series, target)
    if source is None:
        raise PatchseriesError("unknown-source", f"{name} is no pinned tree")
    pristine = Git(require_pristine(project, source))
    own = classify(git, series, pristine.states("HEAD", series.paths))
    if series.patches and own.state != "not-applied":
        raise PatchseriesError(
            "broken-series", f"{name} does not apply to its own tree",
            f"patchseries check --series {name}",
        )  # fmt: skip
    start = target.snapshot(series.paths)
    target.load(git, start)
    if not any(start.values()):
        raise PatchseriesError(
            "foreign-directory",
            f"{target.place} has none of the files of {name}",
            "give the top of a source tree, or the folder of an installed package",
        )
    mover = _Mover(git, pristine, own, Elsewhere(target))
    verdicts, moved = mover.move(start)
    return Analysis(source, series, target, own, start, tuple(verdicts), tuple(moved))


class _Mover:
    """Takes a series along another tree's files."""

    def __init__(
        self, git: Git, pristine: Git, own: Classification, there: Elsewhere
    ) -> None:
        self._git = git
        self._pristine = pristine
        self._own = own
        self._there = there
        self._edges = needed_by_text(git, own.series, own.before)
        self._taken = _taken_upstream(there.target, own.series)
        self._failed: set[str] = set()

    def move(self, start: Snapshot) -> tuple[list[PatchVerdict], list[Moved]]:
        current, own = dict(start), dict(self._own.before)
        verdicts, moved = [], []
        for patch, mine in zip(
            self._own.series.patches, self._own.verdicts, strict=True
        ):
            own |= mine.after or {}
            verdict = self._verdict(patch, current)
            done = self._judge(patch, verdict, current, own)
            if not done.carried:
                verdict = replace(verdict, after={})
                self._failed |= {patch.slug} if done.open else set()
            current |= verdict.after or {}
            verdicts.append(verdict)
            moved.append(done)
        return verdicts, moved

    def _verdict(self, patch: Patch, current: Snapshot) -> PatchVerdict:
        strange = [c.path for c in patch.changes if current.get(c.path) != c.old]
        if not strange:
            after = {change.path: change.new for change in patch.changes}
            return PatchVerdict(patch.slug, "exact", after=after)
        return judge_drift(self._git, patch, current, strange)

    def _judge(
        self, patch: Patch, verdict: PatchVerdict, current: Snapshot, own: Snapshot
    ) -> Moved:
        slug = patch.slug
        if commit := self._taken.get(patch_id(self._git, patch.data)):
            return Moved(slug, UPSTREAM, f"is commit {commit[:12]}")
        if verdict.outcome == "upstreamed":
            return Moved(slug, UPSTREAM, "its change is there")
        signs = landed_signs(patch, self._there, partial(self._read_own, own))
        if signs and all(sign.meant for sign in signs):
            return Moved(slug, CLAIMED, f"Remove-when holds: {_texts(signs)}")
        hint = f"Remove-when holds, by accident? {_texts(signs)}" if signs else ""
        if verdict.outcome in CARRIED:
            detail = "; ".join(filter(None, (verdict.detail, hint)))
            return Moved(slug, verdict.outcome, detail)
        blockers = [one for one in self._edges[slug] if one in self._failed]
        needs = f"needs {', '.join(blockers)}" if blockers else ""
        return Moved(
            slug,
            "blocked" if blockers else "conflict",
            "; ".join(filter(None, (needs, hint))),
            tuple(explain(self._git, self._there, patch, current, not blockers)),
        )

    def _read_own(self, states: Mapping[str, State], path: str) -> bytes | None:
        """A file of the tree that the series is for, with the patches so far."""
        git, state = self._git, states.get(path)
        if path not in states:
            git, state = self._pristine, self._pristine.states("HEAD", [path])[path]
        return git.output("cat-file", "blob", state[1]) if state else None


def _texts(signs: Sequence[Sign]) -> str:
    return ", ".join(sign.text for sign in signs)


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
