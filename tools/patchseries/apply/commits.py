# SPDX-License-Identifier: Apache-2.0
"""A series as commits, by whom, and the branch that they go to."""

from __future__ import annotations

import os

from patchseries.apply.classify import Classification, classify
from patchseries.errors import PatchseriesError
from patchseries.git import Git, read_user_config
from patchseries.series.patch import split_trailers
from patchseries.series.series import AUTHOR, DATE, Series
from patchseries.tree.receipt import Receipt, read_receipt
from patchseries.tree.refs import RefMove, branch_tip, require_not_elsewhere, short
from patchseries.tree.target import GitTarget, Target


def plan_commits(
    git: Git,
    target: GitTarget,
    result: Classification,
    receipt: Receipt,
    earlier: Receipt | None,
) -> RefMove:
    """The series as commits in a scratch repository, and the branch that they go to.

    Args:
        receipt: gets base, branch and tip.
    """
    receipt.base = earlier.base if earlier else target.head
    own = f"refs/heads/patchseries/{receipt.series}{target.suffix}"
    receipt.branch = earlier.branch if earlier else own
    receipt.came_from = earlier.came_from if earlier else target.head_ref
    target.require_room(receipt.branch)
    tip_before = branch_tip(target, receipt.branch)
    receipt.tip = build_commits(git, receipt.base, result, receipt.signer)
    known = tip_before in ("", receipt.tip, earlier.tip if earlier else "")
    known = known or _made_here(git, target, tip_before, receipt.branch, result.series)
    if not known or (tip_before and receipt.branch == receipt.came_from):
        raise _other_commits(short(receipt.branch))
    require_not_elsewhere(
        target, receipt.branch, "switch that worktree to another branch, then try again"
    )
    return RefMove(
        old=target.head,
        new=receipt.tip,
        head_before=target.head_ref,
        head=receipt.branch,
        branch=receipt.branch,
        tip_before=tip_before,
        tip=receipt.tip,
    )


def _other_commits(branch: str) -> PatchseriesError:
    return PatchseriesError(
        "branch-exists",
        f"branch {branch} holds other commits than this series",
        f"`git branch -m {branch} NEW` keeps them; if they are edits of the"
        " series, `patchseries refresh` first",
    )


def _made_here(
    git: Git, target: GitTarget, tip: str, branch: str, series: Series
) -> bool:
    """Whether a branch holds what was once applied, and nothing else to be lost."""
    receipt = read_receipt(target)
    if receipt and (receipt.branch, receipt.tip) == (branch, tip):
        return True
    base = target.git.maybe(
        "rev-parse", "-q", "--verify", f"{tip}~{len(series.patches)}"
    )
    if base is None:
        return False
    there = classify(git, series, target.snapshot(series.paths, base))
    who = target.git("log", "-1", "--format=%cn <%ce>", tip)
    signer = "" if who == AUTHOR else who
    exact = there.state == "not-applied"
    return exact and build_commits(git, base, there, signer) == tip


def build_commits(git: Git, base: str, result: Classification, signer: str = "") -> str:
    """One commit per patch on top of `base`, in a scratch repository."""
    name = "refs/patchseries/built"
    parts: list[bytes] = []
    for patch, verdict in zip(result.series.patches, result.verdicts, strict=True):
        if not verdict.after:
            continue  # its change is already there
        message = _signed(patch.message, signer) if signer else patch.message
        lines = [f"commit {name}", f"committer {signer or AUTHOR} {DATE}"]
        lines += [f"data {len(message.encode())}", message]
        lines += [] if parts else [f"from {base}"]
        for path, state in verdict.after.items():
            lines.append(f"M {state[0]} {state[1]} {path}" if state else f"D {path}")
        parts.append(os.fsencode("\n".join([*lines, ""])))
    if not parts:
        return base
    git.fast_import(b"".join(parts))
    return git("rev-parse", name)


def _signed(message: str, signer: str) -> str:
    gap = "\n" if split_trailers(message)[1] else "\n\n"
    return f"{message.rstrip()}{gap}Signed-off-by: {signer}\n"


def signer_of(target: Target) -> str:
    """Name and mail of whoever signs the commits made in a target."""
    if not isinstance(target, GitTarget):
        raise PatchseriesError(
            "nothing-to-sign",
            f"{target.place} is not in git: --signoff would sign nothing",
            "leave --signoff away, or give a git checkout",
        )
    found = dict(read_user_config(target.root, r"^user\.(name|email)$"))
    if not (found.get("user.name") and found.get("user.email")):
        raise PatchseriesError(
            "no-identity",
            "--signoff needs your name and mail",
            "`git config user.name NAME` and `git config user.email MAIL`",
        )
    return f"{found['user.name']} <{found['user.email']}>"
