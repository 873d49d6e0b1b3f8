# SPDX-License-Identifier: Apache-2.0
"""Index and branches of a git target, moved after its files are in place.

Each step can be repeated, so that an interrupted switch is finished by the same code.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.target import LOCK_MARK, GitTarget

_NOTHING = "0" * 40


@dataclass
class RefMove:
    """From one commit to another.

    Attributes:
        head_before: branch that HEAD names, None for a detached one.
        head: the same, afterwards.
        make: branch to be set to `new`.
        make_before: where that branch was, empty when it is new.
        delete: branch to be removed, if it still is at `old`.
    """

    old: str
    new: str
    head_before: str | None
    head: str | None
    make: str = ""
    make_before: str = ""
    delete: str = ""


def hold_index(target: GitTarget) -> bool:
    """Keep other git commands off the index until `release_index`."""
    try:
        handle = os.open(target.index_lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        if target.index_lock.read_bytes() == LOCK_MARK:
            return True  # of a killed command: the caller holds the target's lock
        raise PatchseriesError(
            "index-locked", f"{target.index_lock} appeared", "try again"
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(LOCK_MARK)
    return True


def release_index(target: GitTarget) -> None:
    """Let go of the index, if it is held by us."""
    try:
        if target.index_lock.read_bytes() == LOCK_MARK:
            target.index_lock.unlink()
    except FileNotFoundError:
        return


def finish_git(target: GitTarget, move: RefMove) -> None:
    """Index, then branch, then HEAD."""
    own = target.private / "stage" / "new-index"
    index = target.git_dir / "index"
    shutil.copy2(index, own)
    git = target.git.with_env(GIT_INDEX_FILE=str(own))
    # -i: the files are in place already; the refresh below looks at them.
    git("read-tree", "-i", "-m", move.old, move.new)
    git.raw("update-index", "-q", "--refresh")  # status 1 only says: unrelated edits
    own.replace(index)
    if move.make:
        git("update-ref", "-m", "patchseries", move.make, move.new)
    if move.head:
        git("symbolic-ref", "-m", "patchseries", "HEAD", move.head)
    else:
        git("update-ref", "--no-deref", "-m", "patchseries", "HEAD", move.new)
    target.head = move.new
    if move.delete and branch_tip(target, move.delete) == move.old:
        git("update-ref", "-d", move.delete, move.old)


def undo_git(target: GitTarget, move: RefMove) -> None:
    """Back to before `finish_git`, however far that came."""
    git = target.git
    if git.maybe("symbolic-ref", "-q", "HEAD") != move.head_before or (
        not git.ok("diff-index", "--cached", "--quiet", move.old, "--")
    ):
        back = RefMove(move.new, move.old, move.head, move.head_before)
        finish_git(target, back)
    if move.make and move.make_before:
        git("update-ref", move.make, move.make_before)
    elif move.make and branch_tip(target, move.make) == move.new:
        git("update-ref", "-d", move.make, move.new)
    if move.delete and not branch_tip(target, move.delete):
        git("update-ref", move.delete, move.old)
    target.head = move.old


def branch_tip(target: GitTarget, branch: str) -> str:
    """The commit of a branch, empty when there is none."""
    return target.git.maybe("rev-parse", "-q", "--verify", branch) or ""
