# SPDX-License-Identifier: Apache-2.0
"""Commits to patch files: the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.git import Git
from patchseries.scratch import scratch_folder
from patchseries.series.patch import without_trailers
from patchseries.series.series import AUTHOR, DATE

# -k keeps the [Tags] of a title, also through `git am -k`; a rename is written as what
# it is by content, so that every touched file has its ids in the patch.
FORMAT = ("-k", "-N", "--zero-commit", "--full-index", "--no-signature", "--no-stat",
          "--no-renames", "--binary", "--no-base", "--no-attach", "--no-thread",
          "--unified=3", "--diff-algorithm=myers")  # fmt: skip
_NOT_EXPORTED = ("Patch-Slug", "Signed-off-by", "Change-Id")


@dataclass(frozen=True)
class Commit:
    """One commit of a patched branch."""

    id: str
    tree: str
    message: str


def commits_after(git: Git, base: str, tip: str) -> list[Commit]:
    """The commits from `base`, excluded, to `tip`, oldest first.

    Raises:
        PatchseriesError: the history is not a line of finished commits.
    """
    raw = git.output(
        "log", "-z", "--reverse", "--encoding=UTF-8", "--format=%H %T %P%n%B",
        f"{base}..{tip}",
    )  # fmt: skip
    commits, parent = [], base
    for record in filter(None, raw.split(b"\0")):
        head, _, raw_message = record.partition(b"\n")
        commit_id, tree, *parents = head.decode().split()
        message = _text(commit_id, raw_message)
        title = message.partition("\n")[0]
        if parents != [parent]:
            raise PatchseriesError(
                "not-linear",
                f"{commit_id[:12]} ({title}) does not follow {parent[:12]}",
                "rebase onto the base: a series is a line of commits without merges",
            )
        if title.startswith(("fixup!", "squash!", "amend!")):
            raise PatchseriesError(
                "unfinished",
                f"{commit_id[:12]} is a {title.split('!')[0]} commit",
                f"git rebase -i --autosquash {base[:12]}",
            )
        commits.append(Commit(commit_id, tree, message))
        parent = commit_id
    return commits


def _text(commit: str, message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError as error:
        raise PatchseriesError(
            "not-utf8",
            f"the message of commit {commit[:12]} is not UTF-8: {error}",
            "write it again: `git rebase -i`, reword; `git config i18n.commitEncoding`"
            " says what git takes it for",
        ) from None


def export(git: Git, base: str, commits: Sequence[Commit]) -> list[bytes]:
    """The patch file of each commit.

    Args:
        git: a scratch repository that can read the commits.
    """
    if not commits:
        return []
    tip = base
    for commit in commits:
        message = without_trailers(commit.message, _NOT_EXPORTED)
        tip = git.commit(commit.tree, tip, message, AUTHOR, DATE)
    with scratch_folder() as folder:
        out = ("--numbered-files", "-o", str(folder))
        git("format-patch", *FORMAT, *out, f"{base}..{tip}")
        return [
            (folder / str(number)).read_bytes() for number in range(1, len(commits) + 1)
        ]


def patch_id(git: Git, data: bytes) -> str:
    """Changes with the content of a patch, not with line numbers or ids."""
    return git("patch-id", "--stable", stdin=data).partition(" ")[0]
