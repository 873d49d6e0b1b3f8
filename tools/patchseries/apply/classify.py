# SPDX-License-Identifier: Apache-2.0
"""What each patch of a series means for a tree, found without touching the tree.

Content decides: a path whose blob id the series knows is placed exactly, with no
guessing. git is asked only about paths that hold something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from patchseries.apply.blobs import Blobs
from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot, State
from patchseries.series.patch import Patch
from patchseries.series.series import Series

Outcome = Literal[
    "exact",  # applies to byte-identical files
    "applied",  # is there, proven by content
    "offset",  # git applies it at other lines or beside other edits
    "three-way",  # a merge with the files it was written for works
    "upstreamed",  # its change is there, within files that differ
    "partial",  # some of its files have it, some not
    "conflict",
    "file-missing",
    "file-exists",
    "blocked",  # builds on a patch that does not apply
]
MENDABLE: tuple[Outcome, ...] = ("exact", "offset", "three-way", "upstreamed")


@dataclass(frozen=True)
class PatchVerdict:
    """One patch against one tree; `after` holds the paths that it would set."""

    slug: str
    outcome: Outcome
    detail: str = ""
    after: Mapping[str, State] | None = None


@dataclass(frozen=True)
class Classification:
    """A whole series against one tree."""

    series: Series
    verdicts: tuple[PatchVerdict, ...]
    before: Snapshot
    present: int  # how many of the files that the series expects exist

    @property
    def outcomes(self) -> set[str]:
        return {verdict.outcome for verdict in self.verdicts}

    @property
    def state(self) -> str:
        """applied, not-applied, half-applied, drifted or foreign."""
        if self.present == 0:
            return "foreign"
        if self.outcomes == {"applied"}:
            return "applied"
        if self.outcomes == {"exact"}:
            return "not-applied"
        if self.outcomes & {"applied", "partial"}:
            return "half-applied"
        return "drifted"

    @property
    def goal(self) -> Snapshot:
        """What every touched path holds once the series is in."""
        result = dict(self.before)
        for verdict in self.verdicts:
            result |= verdict.after or {}
        return result


def classify(
    git: Git, series: Series, before: Snapshot, pristine: Snapshot | None = None
) -> Classification:
    """Try every patch of a series.

    Args:
        git: a scratch repository in which the blobs of `before` can be read.
        pristine: what the series was written for, where those blobs can be read as
            well: gives three-way merges their base.
    """
    chains = series.chains()
    located = {
        path: [number for number, state in chain if state == before.get(path)]
        for path, chain in chains.items()
    }
    if any(not numbers for numbers in located.values()) and pristine:
        _write_own_blobs(git, series, pristine)
    current = dict(before)
    blobs = Blobs(git, before.values())
    verdicts: list[PatchVerdict] = []
    failed: dict[str, str] = {}
    for number, patch in enumerate(series.patches, 1):
        verdict = _judge(git, blobs, patch, number, current, located, failed)
        current |= verdict.after or {}
        if verdict.outcome not in (*MENDABLE, "applied"):
            failed |= {c.path: patch.slug for c in patch.changes}
        verdicts.append(verdict)
    blobs.flush()
    expected = [path for path, chain in chains.items() if chain[0][1] is not None]
    present = sum(before.get(path) is not None for path in expected)
    if not expected:
        present = 1
    return Classification(series, tuple(verdicts), before, present)


def replay(
    git: Git, blobs: Blobs, patch: Patch, current: Mapping[str, State]
) -> Snapshot:
    """Apply a patch to exactly the files that it names, and prove the result."""
    expected = {change.path: change.new for change in patch.changes}
    if blobs.replay(patch, current):
        return expected
    blobs.flush()
    if try_patch(git, patch, current) != expected:
        raise PatchseriesError(
            "corrupt-patch",
            f"{patch.slug}.patch does not give the files whose ids it states",
            "restore it from version control, or run `patchseries refresh`",
        )
    return expected


def _judge(
    git: Git,
    blobs: Blobs,
    patch: Patch,
    number: int,
    current: Snapshot,
    located: Mapping[str, Sequence[int]],
    failed: Mapping[str, str],
) -> PatchVerdict:
    changes = patch.changes
    if all(current.get(change.path) == change.old for change in changes):
        return PatchVerdict(
            patch.slug, "exact", after=replay(git, blobs, patch, current)
        )
    there = [any(n >= number for n in located[c.path]) for c in changes]
    if all(there):
        return PatchVerdict(patch.slug, "applied")
    strange = [c.path for c in changes if not located[c.path]]
    if any(there) and not strange:
        done = [c.path for c, is_there in zip(changes, there, strict=True) if is_there]
        return PatchVerdict(patch.slug, "partial", f"is in {_some(done)} only")
    for change in changes:
        if change.path in failed:
            return PatchVerdict(patch.slug, "blocked", f"by {failed[change.path]}")
    blobs.flush()
    return judge_drift(git, patch, current, strange)


def judge_drift(
    git: Git, patch: Patch, current: Snapshot, strange: list[str]
) -> PatchVerdict:
    """A patch on files that are neither before nor after it."""
    for change in patch.changes:
        found = current.get(change.path)
        if change.old is not None and found is None:
            return PatchVerdict(patch.slug, "file-missing", change.path)
        if change.old is None and found not in (None, change.new):
            return PatchVerdict(patch.slug, "file-exists", change.path)
    detail = f"differs: {_some(strange)}"
    if try_patch(git, patch, current, "--reverse"):
        return PatchVerdict(patch.slug, "upstreamed", detail, {})
    if after := try_patch(git, patch, current):
        return PatchVerdict(patch.slug, "offset", detail, after)
    if after := try_patch(git, patch, current, "--3way"):
        unchanged = all(after[path] == current.get(path) for path in after)
        outcome: Outcome = "upstreamed" if unchanged else "three-way"
        return PatchVerdict(patch.slug, outcome, detail, after)
    return PatchVerdict(patch.slug, "conflict", detail)


def try_patch(
    git: Git, patch: Patch, current: Mapping[str, State], *options: str
) -> Snapshot | None:
    """The patch on an index that holds just its files; None when git refuses."""
    paths = [change.path for change in patch.changes]
    git("read-tree", "--empty")
    git.set_index({p: current[p] for p in paths if current.get(p) is not None})
    if not git.ok("apply", "--cached", *options, stdin=patch.data):
        return None
    index = git.index()
    return {path: index.get(path) for path in paths}


def _write_own_blobs(git: Git, series: Series, pristine: Snapshot) -> None:
    """Make every intermediate file of the series readable, as merge bases."""
    current = dict(pristine)
    blobs = Blobs(git, pristine.values())
    for patch in series.patches:
        if any(current.get(c.path) != c.old for c in patch.changes):
            break
        current |= replay(git, blobs, patch, current)
    blobs.flush()


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
