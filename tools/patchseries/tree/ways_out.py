# SPDX-License-Identifier: Apache-2.0
"""What to type where a tree is in no state for a command: the advice of refusals."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from patchseries.git import Git
from patchseries.series.series import Series

_SESSIONS = {
    "rebase-merge": ("a rebase", "git rebase --abort"),
    "rebase-apply/applying": ("`git am`", "git am --abort"),
    "rebase-apply": ("a rebase", "git rebase --abort"),
    "MERGE_HEAD": ("a merge", "git merge --abort"),
    "CHERRY_PICK_HEAD": ("a cherry-pick", "git cherry-pick --abort"),
    "REVERT_HEAD": ("a revert", "git revert --abort"),
    "sequencer": (
        "a cherry-pick or revert of several commits",
        "git cherry-pick --abort",
    ),
    "BISECT_LOG": ("a bisection", "git bisect reset"),
}
_LOOKED_BACK = 50


def quoted(path: Path | str) -> str:
    """A path as one word of a shell."""
    return shlex.quote(os.fspath(path))


def aside(path: Path) -> str:
    """Moves what is in the way."""
    return f"`mv {quoted(path)} {quoted(path.with_name(path.name + '.mine'))}`"


def session(git_dir: Path) -> tuple[str, str] | None:
    """What git is in the middle of, and what ends it."""
    return next((s for name, s in _SESSIONS.items() if (git_dir / name).exists()), None)


def hidden_files(git: Git, skipped: Sequence[str], assumed: Sequence[str]) -> str:
    """After this, git looks at files again that it was told not to look at."""
    sparse = git.maybe("config", "--type=bool", "core.sparseCheckout")
    cone = git.maybe("config", "--type=bool", "core.sparseCheckoutCone")
    parts = []
    if assumed:
        parts.append(["git", "update-index", "--no-assume-unchanged", "--", *assumed])
    if skipped and sparse == "true":
        shown = {str(Path(path).parent) for path in skipped if "/" in path}
        if cone != "true":
            shown = {f"/{path}" for path in skipped}
        parts.append(["git", "sparse-checkout", "add", *sorted(shown)])
    elif skipped:
        parts.append(["git", "update-index", "--no-skip-worktree", "--", *skipped])
    return " && ".join(map(shlex.join, parts))


def commit_before(git: Git, series: Series) -> str:
    """The last commit that has nothing of a series; empty when none is found."""
    pristine = {path: chain[0][1] for path, chain in series.chains().items()}
    log = ("log", "--first-parent", f"--max-count={_LOOKED_BACK}", "--format=%H")
    for commit in git(*log, "HEAD", "--", *series.paths).split():
        before = git.maybe("rev-parse", "-q", "--verify", f"{commit}~1")
        if before and git.states(before, series.paths) == pristine:
            return before
    return ""


def before_part(git: Git, root: Path, series: Series) -> str:
    """Out of a checkout that has a part of a series, or all of it by other means."""
    before = commit_before(git, series)[:12]
    if not before:
        return fresh_tree(root)
    return (
        f"`git switch --detach {before}` is the commit before it; `git reset --keep"
        f" {before}` drops it, and all commits since"
    )


def fresh_tree(root: Path) -> str:
    """Out of a tree of which nothing is known."""
    return (
        "start from a fresh tree; where upstream has that part,"
        f" `patchseries rebase --to {quoted(root)}` says what is left to do"
    )


def put_back(root: Path, private: Path, edited: Sequence[str]) -> str:
    """Out of edits in a tree without git."""
    steps = []
    for path in edited:
        full, kept = quoted(root / path), private / "originals" / path
        steps += [f"mv {full} {quoted(root / (path + '.mine'))}"]
        steps += [f"cp -p {quoted(kept)} {full}"] if kept.exists() else []
    return (
        f"`{' && '.join(steps)}` keeps your edits aside; `patchseries unapply` then"
        " takes the series out"
    )


def without_rest(place: Path, root: Path, rest: Sequence[Path | str]) -> str:
    """Out of a tree over which another release was installed."""
    return (
        f"another release was installed over {place}:"
        f" `rm -r {shlex.join(str(root / path) for path in rest)}` removes what the"
        " series has left there"
    )
