# SPDX-License-Identifier: Apache-2.0
"""Branch, HEAD and index of a git target, each moved from the value it has to have.

Each step can be repeated, in both directions, so that an interrupted switch is finished
or undone by the same code.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from patchseries.errors import GitError, PatchseriesError
from patchseries.tree.stage import stage_folder
from patchseries.tree.target import LOCK_MARK, GitTarget

_STALE_S = 3.0  # git holds a lock on a branch for milliseconds


@dataclass(frozen=True)
class RefMove:
    """From one commit to another, and what becomes of one branch.

    Attributes:
        head_before: branch that HEAD names, None for a detached one.
        head: the same, afterwards.
        branch: full name of a branch that is made, moved or removed; empty for none.
        tip_before: its commit, empty when there is no such branch.
        tip: the same, afterwards.
    """

    old: str
    new: str
    head_before: str | None
    head: str | None
    branch: str = ""
    tip_before: str = ""
    tip: str = ""

    def back(self) -> RefMove:
        """The way back."""
        return RefMove(
            self.new, self.old, self.head, self.head_before,
            self.branch, self.tip, self.tip_before,
        )  # fmt: skip


def hold_index(target: GitTarget) -> None:
    """Keep other git commands off the index until `release_index`."""
    mark = stage_folder(target) / "lock"
    mark.write_bytes(LOCK_MARK)
    try:
        os.link(mark, target.index_lock)  # never there without the mark in it
    except FileExistsError:
        if not holds_index(target):
            raise PatchseriesError(
                "index-locked", f"{target.index_lock} appeared", "try again"
            ) from None
    except OSError:  # a file system without hard links
        with target.index_lock.open("xb") as file:
            file.write(LOCK_MARK)


def holds_index(target: GitTarget) -> bool:
    """Whether it is one of ours that keeps other git commands off."""
    try:
        return target.index_lock.read_bytes() == LOCK_MARK
    except FileNotFoundError:
        return False


def release_index(target: GitTarget) -> None:
    """Let go of the index, if it is held by us."""
    if holds_index(target):
        target.index_lock.unlink()


def prepare_index(target: GitTarget, move: RefMove) -> None:
    """The index as it will be, complete beside the one that is there."""
    own = _own_index(target)
    shutil.copy2(target.git_dir / "index", own)
    git = target.git.with_env(GIT_INDEX_FILE=str(own))
    # -i: the files are in place already; the refresh below looks at them.
    git("read-tree", "-i", "-m", move.old, move.new)
    git.raw("update-index", "-q", "--refresh")  # status 1 only says: unrelated edits


def place_index(target: GitTarget, move: RefMove) -> None:
    """Put it in place, made anew where somebody broke our lock on the index."""
    own = _own_index(target)
    if target.git("rev-parse", "HEAD") != move.new:
        return  # somebody worked on: the index is theirs
    if not holds_index(target):
        try:
            prepare_index(target, move)
        except PatchseriesError:
            return
    if own.exists():
        own.replace(target.git_dir / "index")


def _own_index(target: GitTarget) -> Path:
    return stage_folder(target) / "new-index"


def move_refs(target: GitTarget, move: RefMove, undo: bool = False) -> None:
    """Branch and HEAD; HEAD is never on a branch that is not there.

    What git can move in one transaction moves in one. Before git 2.46 a transaction
    cannot turn HEAD to another branch; `index.lock`, which is held, keeps whatever else
    turns HEAD away meanwhile.

    Args:
        undo: HEAD goes back to its branch wherever that is now, and a branch that
            others have moved stays where it is.

    Raises:
        PatchseriesError: something has another value than it had when this was planned.
    """
    git = target.git
    tip = branch_tip(target, move.branch) if move.branch else ""
    if undo and tip != move.tip_before:
        move = replace(move, tip=tip)
    if move.tip and move.tip != tip:
        known = move.tip_before or "0" * len(move.tip)
        _transaction(target, f"update {move.branch} {move.tip} {known}")
    if (target.head_ref, git("rev-parse", "HEAD")) != (move.head, move.new):
        _turn_head(target, move)
    last = [] if undo or move.tip else [f"verify {move.head or 'HEAD'} {move.new}"]
    if tip and not move.tip:
        last.append(f"delete {move.branch} {move.tip_before}")
    _transaction(target, *last)
    target.head = move.new


def _turn_head(target: GitTarget, move: RefMove) -> None:
    git = target.git
    if target.head_ref not in (move.head, move.head_before):
        if git("rev-parse", "HEAD") != move.new:
            raise _moved(target, "HEAD")
    elif move.head:
        git("symbolic-ref", "-m", "patchseries", "HEAD", move.head)
    else:
        head = ("--no-deref", "-m", "patchseries", "HEAD")
        git("update-ref", *head, move.new, move.old)


def _transaction(target: GitTarget, *commands: str) -> None:
    """All of it or nothing, each from its expected value."""
    if not commands:
        return
    text = "\n".join(("start", *commands, "prepare", "commit", ""))
    try:
        target.git(
            "update-ref", "-m", "patchseries", "--stdin", stdin=os.fsencode(text)
        )
    except GitError as error:
        if "expected" in error.stderr or "already exists" in error.stderr:
            raise _moved(target, " and ".join(c.split()[1] for c in commands)) from None
        raise


def _moved(target: GitTarget, what: str) -> PatchseriesError:
    return PatchseriesError(
        "ref-moved",
        f"{what} of {target.root} was moved by another git command meanwhile",
        "look at `git log` and `git status`, then run the command again",
    )


def branch_tip(target: GitTarget, branch: str) -> str:
    """The commit of a branch, empty when there is none."""
    return target.git.maybe("rev-parse", "-q", "--verify", branch) or ""


def require_not_elsewhere(target: GitTarget, branch: str, advice: str) -> None:
    """Refuse to move, remove or turn to a branch that another worktree is on."""
    for path, names in _other_worktrees(target):
        if branch in names:
            raise PatchseriesError(
                "branch-in-use",
                f"branch {short(branch)} is checked out in {path}",
                advice,
            )


def short(branch: str) -> str:
    """A branch as people write it."""
    return branch.removeprefix("refs/heads/")


def _other_worktrees(target: GitTarget) -> Iterator[tuple[str, list[str]]]:
    """Where each is, and the branches that it is on or will come back to."""
    listed = target.git("worktree", "list", "--porcelain").split("\n\n")
    for number, part in enumerate(listed):
        lines = dict(line.partition(" ")[::2] for line in part.splitlines())
        path = Path(lines["worktree"])
        git_dir = (
            target.common_dir
        )  # of the first, wherever git says that its files are
        if number:
            git_dir = GitTarget.git_dir_of(path) or path
        if git_dir != target.git_dir:
            yield str(path), [lines.get("branch", ""), *_under_way(git_dir)]


def _under_way(git_dir: Path) -> list[str]:
    """Branches that a rebase or a bisection will come back to."""
    names = []
    for file in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        if (git_dir / file).is_file():
            name = os.fsdecode((git_dir / file).read_bytes()).strip()
            names += [name, f"refs/heads/{name}"]
    return names


def break_stale_locks(target: GitTarget, move: RefMove, since: float) -> None:
    """Remove the locks on branches that a git of ours left when it was killed too.

    Ours are those that were taken after the switch began to move branches, that hold
    nothing but what we had git write, and that stay: no git of ours runs any more, as
    it would hold the target's lock, and another one is done within `_STALE_S`.

    Args:
        since: when it began, in seconds since the epoch.
    """
    heads = [head for head in (move.head, move.head_before) if head]
    values = [move.old, move.new, *(f"ref: {head}" for head in heads)]
    for name in {"HEAD", "packed-refs", *heads, move.branch or "HEAD"}:
        found = target.git.path("rev-parse", "--git-path", f"{name}.lock")
        lock = target.root / found
        while lock.exists() and 0 <= time.time() - lock.stat().st_mtime < _STALE_S:
            time.sleep(0.1)
        try:
            text = os.fsdecode(lock.read_bytes())
            ours = any(f"{value}\n".startswith(text) for value in values)
            if ours and lock.stat().st_mtime >= since:
                lock.unlink()
        except FileNotFoundError:
            continue
