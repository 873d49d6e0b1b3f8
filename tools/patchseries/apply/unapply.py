# SPDX-License-Identifier: Apache-2.0
"""Back to the exact tree from before a series, proven by content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from patchseries.apply.appliable import way_out
from patchseries.apply.apply import choose_series, held
from patchseries.apply.classify import classify, try_patch
from patchseries.apply.package import in_scope
from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.folder import read_series
from patchseries.series.series import Series
from patchseries.tree.journal import Switch
from patchseries.tree.receipt import Receipt, read_receipt
from patchseries.tree.refs import RefMove, branch_tip, require_not_elsewhere, short
from patchseries.tree.stage import fresh_stage, stage_files, staging_index
from patchseries.tree.switch import execute, recover
from patchseries.tree.target import GitTarget, Target, on_disk


def unapply_all(
    project: Project, targets: Sequence[tuple[Path, str | None]]
) -> Iterator[str]:
    """Take it out of each tree, once it is known that this works in every one."""
    for path, name in targets if len(targets) > 1 else ():
        unapply(project, path, name, dry=True)
    for path, name in targets:
        yield from unapply(project, path, name)


def unapply(
    project: Project, path: Path, name: str | None, dry: bool = False
) -> list[str]:
    """Take a series out of the tree at `path`.

    Args:
        dry: only find out whether it can be taken out.

    Returns:
        What happened, one line each.

    Raises:
        PatchseriesError: it was refused, and nothing was changed.
    """
    with held(path) as target:
        notes = [note] if (note := recover(target)) else []
        receipt = read_receipt(target)
        if receipt and name in (None, receipt.series):
            if receipt.fits(target) and isinstance(target, GitTarget):
                return notes + _unapply_git(target, receipt, dry)
            if there := receipt.partly(target):
                return notes + _unapply_plain(project, target, there, dry)
        return notes + _unapply_unknown(project, target, name, receipt, dry)


def _unapply_git(target: GitTarget, receipt: Receipt, dry: bool) -> list[str]:
    git, came_from = target.git, receipt.came_from
    leave = f"`git switch --detach {receipt.base[:12]}` leaves the series; the branch "
    leave += f"{short(receipt.branch)} can then be deleted"
    if came_from and branch_tip(target, came_from) != receipt.base:
        name = short(came_from)
        raise PatchseriesError(
            "branch-moved",
            f"{name} moved since the series was applied on it",
            leave.replace(f"--detach {receipt.base[:12]}", name),
        )
    if came_from:
        require_not_elsewhere(target, came_from, f"switch that one away; or {leave}")
    tip = branch_tip(target, receipt.branch)
    ours = receipt.branch if tip == receipt.tip else ""  # else it holds other work
    if ours:
        require_not_elsewhere(target, ours, "switch that worktree to another branch")
    options = ("-r", "-z", "--name-only")
    paths = git.records("diff-tree", *options, receipt.tip, receipt.base)
    before, after = git.states(receipt.tip, paths), git.states(receipt.base, paths)
    old = on_disk(target.root, paths)  # before git looks at them
    target.require_ready(before, after)
    if dry:
        return []
    fresh_stage(target)
    source = git.with_env(GIT_INDEX_FILE=str(staging_index(target)))
    shelf, new = stage_files(target, source, after)
    refs = RefMove(
        old=receipt.tip,
        new=receipt.base,
        head_before=target.head_ref,
        head=came_from,
        branch=ours,
        tip_before=tip if ours else "",
    )
    drop = receipt.made_folders
    execute(target, Switch(str(shelf), old, new, None, refs, drop))
    back = short(came_from or receipt.base)
    return [f"{receipt.series}: taken out of {target.place}, back on {back}"]


def _unapply_plain(
    project: Project, target: Target, receipt: Receipt, dry: bool
) -> list[str]:
    kept = Target(target.private / "originals", target.private)
    with scratch(project.objects(receipt.series)) as git:
        lost = [p for p, s in receipt.before.items() if s and kept.file_state(p) != s]
        if lost:
            series = in_scope(read_series(project, receipt.series), target)
            _reverse(git, target, series, receipt.after, receipt.before)
        states, made = (receipt.after, receipt.before), receipt.made_folders
        return _switch_plain(git, target, receipt.series, states, made, dry)


def _unapply_unknown(
    project: Project,
    target: Target,
    name: str | None,
    receipt: Receipt | None,
    dry: bool,
) -> list[str]:
    """No receipt that fits: content alone tells whether the series is there."""
    series = choose_series(project, target, name, None)
    with scratch(*target.objects) as git:
        snapshot = target.snapshot(series.paths)
        target.load(git, snapshot)
        result = classify(git, series, snapshot)
        if result.state == "not-applied":
            return [f"{series.name}: not applied to {target.place}, nothing to do"]
        if result.state != "applied":
            raise PatchseriesError(
                "not-as-applied",
                f"{target.place} is not as {series.name} leaves it",
                _way_out(target, receipt, series),
            )
        if isinstance(target, GitTarget):
            raise PatchseriesError(
                "no-receipt",
                f"{target.place} has {series.name}, but not by this tool, or with "
                "commits of yours on top",
                _way_out(target, receipt, series),
            )
        goal = {path: chain[0][1] for path, chain in series.chains().items()}
        _reverse(git, target, series, snapshot, goal)
        return _switch_plain(git, target, series.name, (snapshot, goal), [], dry)


def _switch_plain(
    git: Git,
    target: Target,
    name: str,
    states: tuple[Snapshot, Snapshot],
    drop_folders: list[str],
    dry: bool,
) -> list[str]:
    """From what was found to what is wanted."""
    before, goal = states
    moves = {path: state for path, state in goal.items() if before[path] != state}
    target.require_ready(before, moves)
    if dry:
        return []
    fresh_stage(target)
    source = git.with_env(GIT_WORK_TREE=str(git.folder))
    shelf, new = stage_files(target, source, moves, target.private / "originals")
    old = {path: before[path] for path in moves}
    execute(target, Switch(str(shelf), old, new, drop_folders=drop_folders))
    return [f"{name}: taken out of {target.place}"]


def _reverse(
    git: Git, target: Target, series: Series, after: Snapshot, before: Snapshot
) -> None:
    """Rebuild the files from before a series out of those after it, and prove them."""
    target.load(git, after)
    current = dict(after)
    for patch in reversed(series.patches):
        current |= try_patch(git, patch, current, "--reverse") or {}
    if any(current[path] != state for path, state in before.items()):
        raise PatchseriesError(
            "cannot-reverse",
            f"the files from before {series.name} cannot be rebuilt in {target.place}",
            "unpack a fresh tree",
        )


def _way_out(target: Target, receipt: Receipt | None, series: Series) -> str:
    on_top = (
        isinstance(target, GitTarget)
        and receipt
        and (target.descends_from(receipt.tip))
    )
    if receipt and on_top:
        return (
            "commits of yours are on top: `patchseries refresh` exports them, "
            f"`git reset --keep {receipt.tip[:12]}` drops them; then unapply"
        )
    return way_out(target, series)
