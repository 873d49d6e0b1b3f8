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
from patchseries.pins.of_series import sources_of_series
from patchseries.pins.sources import Source
from patchseries.project import Project
from patchseries.proof.independence import needed_by_text
from patchseries.proof.results import FAILED, PASSED
from patchseries.rebase.conflicts import explain
from patchseries.rebase.elsewhere import Elsewhere
from patchseries.rebase.landed import Landed, Part, look, read_parts
from patchseries.rebase.renamed import Renames
from patchseries.rebase.trial import Proof, Say
from patchseries.series.export import patch_id
from patchseries.series.folder import read_series
from patchseries.series.patch import Patch
from patchseries.series.removal import Sign, landed_signs
from patchseries.series.series import Series
from patchseries.tree.places import require_package
from patchseries.tree.target import GitTarget, Target

CARRIED = ("exact", "offset", "three-way")
UPSTREAM, CLAIMED, PARTLY = "upstream", "upstream?", "partly"
_LOOKED_BACK = 5000  # commits, for changes that upstream has taken as they are


@dataclass(frozen=True)
class Moved:
    """What became of one patch.

    Attributes:
        outcome: exact, offset or three-way: carried over, as text; upstream; upstream?
            where `Remove-when` alone says so; partly, where upstream has some of its
            parts; conflict; blocked.
        text: what becomes of its text, whatever upstream has.
        renamed: whether it is carried over to files that have another path there.
        explanation: where a conflict is, and what of the patch is there.
        proof: what the patch's tests say, where its outcome needs one.
    """

    slug: str
    outcome: str
    detail: str = ""
    explanation: tuple[str, ...] = ()
    proof: Proof | None = None
    text: str = ""
    renamed: bool = False

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


def analyse(
    project: Project, git: Git, name: str, target: Target, say: Say
) -> Analysis:
    """Find out what becomes of each patch of a series on another tree, as text.

    Args:
        git: a scratch repository that reads the objects of both trees.
        say: told how far it is.
    """
    source = sources_of_series(project, name)[name]
    series = in_scope(read_series(project, name), target)
    require_package(series, target)
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
    parts = read_parts(project, name)
    mover = _Mover(git, pristine, own, Elsewhere(target), parts)
    verdicts, moved = mover.move(start, say)
    return Analysis(source, series, target, own, start, tuple(verdicts), tuple(moved))


class _Mover:
    """Takes a series along another tree's files."""

    def __init__(
        self,
        git: Git,
        pristine: Git,
        own: Classification,
        there: Elsewhere,
        parts: Mapping[str, tuple[Part, ...]],
    ) -> None:
        self._git = git
        self._pristine = pristine
        self._own = own
        self._there = there
        self._parts = parts
        self._renames = Renames(git, there)
        self._edges = needed_by_text(git, own.series, own.before)
        self._taken = _taken_upstream(there.target, own.series)
        self._failed: set[str] = set()

    def move(self, start: Snapshot, say: Say) -> tuple[list[PatchVerdict], list[Moved]]:
        """What becomes of each patch; `start` gets the files found elsewhere."""
        current, own = dict(start), dict(self._own.before)
        verdicts, moved = [], []
        patches = self._own.series.patches
        for number, patch in enumerate(patches, 1):
            say(f"patch {number} of {len(patches)}")
            own |= self._own.verdicts[number - 1].after or {}
            known = set(current)
            there = self._renames.follow(patch, current)
            start |= {path: current[path] for path in set(current) - known}
            verdict = self._verdict(there, current)
            done = self._judge(patch, verdict, current, own)
            renamed = done.carried and there is not patch
            done = replace(done, text=verdict.outcome, renamed=renamed)
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
        found = look(self._parts.get(slug, ()), self._there)
        if found.there:
            return self._declared(patch, verdict, current, found)
        signs = []
        if slug not in self._parts:
            read = partial(self._read_own, own)
            signs = landed_signs(patch, self._there, read)
        if signs and all(sign.meant for sign in signs):
            return Moved(slug, CLAIMED, f"Remove-when holds: {_texts(signs)}")
        hint = f"Remove-when holds, by accident? {_texts(signs)}" if signs else ""
        if verdict.outcome in CARRIED:
            detail = "; ".join(filter(None, (verdict.detail, hint)))
            return Moved(slug, verdict.outcome, detail)
        blockers, places = self._open(patch, current)
        needs = f"needs {', '.join(blockers)}" if blockers else ""
        outcome = "blocked" if blockers else "conflict"
        detail = "; ".join(filter(None, (needs, hint)))
        return Moved(slug, outcome, detail, places)

    def _open(
        self, patch: Patch, current: Snapshot
    ) -> tuple[list[str], tuple[str, ...]]:
        """Which open patches it needs, and what of it is there or does not merge."""
        blockers = [one for one in self._edges[patch.slug] if one in self._failed]
        lines = explain(self._git, self._there, patch, current, not blockers)
        return blockers, tuple(lines)

    def _declared(
        self, patch: Patch, verdict: PatchVerdict, current: Snapshot, found: Landed
    ) -> Moved:
        """A patch of whose parts upstream has some, or all."""
        shown = [f"there: {what} ({', '.join(at)})" for what, at in found.there]
        if not found.missing:
            why = "all of it"
            if verdict.outcome in CARRIED:
                why = "it would merge as text, and upstream has all of it"
            return Moved(patch.slug, UPSTREAM, why, tuple(shown))
        shown += [f"missing: {what}" for what in found.missing]
        detail = f"missing: {'; '.join(found.missing)}"
        if verdict.outcome not in CARRIED:
            blockers, places = self._open(patch, current)
            shown += places
            detail += f"; needs {', '.join(blockers)}" if blockers else ""
        return Moved(patch.slug, PARTLY, detail, tuple(shown))

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
