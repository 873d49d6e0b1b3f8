# SPDX-License-Identifier: Apache-2.0
"""A series onto a tree: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patchseries.classify import MENDABLE, Classification, Snapshot, classify
from patchseries.errors import PatchseriesError, as_refusal
from patchseries.fetch import require_pristine
from patchseries.files import whole_folder
from patchseries.folder import digest, file_digests, read_series, series_names
from patchseries.git import Git, read_user_config, scratch
from patchseries.locks import locked
from patchseries.package import in_scope, require_package
from patchseries.project import Project
from patchseries.receipt import Receipt, read_receipt
from patchseries.refs import RefMove, branch_tip, require_not_elsewhere, short
from patchseries.series import AUTHOR, DATE, Series, split_trailers
from patchseries.sources import Source
from patchseries.stage import (
    fresh_stage,
    stage_commits,
    stage_files,
    staging_index,
)
from patchseries.switch import Switch, execute, recover, target_states, tidy
from patchseries.target import GitTarget, Target, open_target


@dataclass(frozen=True)
class Options:
    """How far `apply` may go."""

    three_way: bool = False
    signoff: bool = False


def apply(
    project: Project, path: Path, name: str | None, options: Options
) -> list[str]:
    """Apply a series to the tree at `path`.

    Args:
        name: of the series; recognised by the tree's content when None.

    Returns:
        What happened, one line each.

    Raises:
        PatchseriesError: it was refused, and nothing was changed.
    """
    with held(path) as target:
        notes = [note] if (note := recover(target)) else []
        receipt = read_receipt(target)
        fitting = receipt if receipt and receipt.fits(target) else None
        series = choose_series(project, target, name, fitting)
        if fitting and fitting.series == series.name:
            if fitting.digest == digest(series):
                return [*notes, f"{series.name}: already applied to {target.root}"]
            notes.append(f"{series.name} changed since it was applied: bringing it up")
        elif fitting:
            raise PatchseriesError(
                "other-series",
                f"{target.root} has the series {fitting.series}",
                "unapply that first",
            )
        return notes + _apply_new(project, target, series, fitting, options)


@contextmanager
def held(path: Path) -> Iterator[Target]:
    """The target at `path`, held against other patchseries commands."""
    target = open_target(path)
    with locked(target.private.parent):
        target = open_target(path)  # again: it may have changed while we waited
        try:
            yield target
        except OSError as error:
            raise as_refusal(error) from None
        finally:
            tidy(target)


def _apply_new(
    project: Project,
    target: Target,
    series: Series,
    earlier: Receipt | None,
    options: Options,
) -> list[str]:
    alternates = [*target.objects, project.objects(series.name)]
    with scratch(*alternates) as git:
        result = classify_target(project, git, target, series, earlier)
        if result.state == "applied":
            return [f"{series.name}: already applied to {target.root}"]
        _require_appliable(target, result, options)
        before = _before(target, result, earlier)
        goal = dict(earlier.before if earlier else {}) | result.goal
        moves = {path: s for path, s in goal.items() if before.get(path) != s}
        old = {path: before.get(path) for path in moves}
        if isinstance(target, GitTarget):  # as git writes them, and before git looks
            old = target_states(target.root, moves)
        target.require_ready(before, moves)
        receipt = Receipt(
            series=series.name,
            digest=digest(series),
            patches=[patch.slug for patch in series.patches],
            before=result.before,
            after=result.goal,
            contents=file_digests(series.patches),
        )
        fresh_stage(target)
        originals = target.private / "originals" if earlier else None
        refs = None
        if isinstance(target, GitTarget):
            refs = _commit(git, target, result, receipt, earlier, options)
            source = target.git.with_env(GIT_INDEX_FILE=str(staging_index(target)))
        else:
            source = git.with_env(GIT_WORK_TREE=str(git.folder))
        shelf, new = stage_files(target, source, moves, originals)
        drop = earlier.made_folders if earlier else []
        execute(target, Switch(str(shelf), old, new, receipt.as_json(), refs, drop))
    where = f", on branch {short(refs.branch)}" if refs else ""
    count = len(series.patches)
    return [f"{series.name}: {count} patches applied to {target.root}{where}"]


def _before(
    target: Target, result: Classification, earlier: Receipt | None
) -> Snapshot:
    """What was judged: nothing is read a second time, it may have been edited since."""
    if isinstance(target, GitTarget):
        return target.snapshot(sorted({*(earlier or result).before, *result.before}))
    return result.before | (earlier.after if earlier else {})


def classify_target(
    project: Project,
    git: Git,
    target: Target,
    series: Series,
    earlier: Receipt | None = None,
) -> Classification:
    """Classify a series against a target, as it was before `earlier` if given."""
    paths = series.paths
    if isinstance(target, GitTarget):
        before = target.snapshot(paths, earlier.base if earlier else "")
    else:
        before = target.snapshot(paths)
        target.load(git, before)
        if earlier:
            kept = Target(target.private / "originals", target.private)
            before = {p: earlier.before.get(p, s) for p, s in before.items()}
            kept.load(git, {p: s for p, s in before.items() if kept.file_state(p)})
    pristine = None
    tree = project.pristine(series.name)
    if (tree / ".git").is_dir():
        pristine = Git(tree).states("HEAD", paths)
    return classify(git, series, before, pristine)


def choose_series(
    project: Project, target: Target, name: str | None, receipt: Receipt | None
) -> Series:
    """The named series, else the one whose files are the target's."""
    name = name or (receipt.series if receipt else None)
    if name:
        series = in_scope(read_series(project, name), target)
        require_package(series, target)
        if not series.patches:
            raise PatchseriesError(
                "foreign-directory",
                f"{name} touches nothing of {target.place}",
            )
        return series
    best, best_share = None, 0.0
    for candidate in series_names(project):
        series = in_scope(read_series(project, candidate), target)
        found = target.snapshot(series.paths)
        chains = series.chains()
        expected = [p for p, chain in chains.items() if chain[0][1] is not None]
        share = sum(found[p] is not None for p in expected) / max(1, len(expected))
        share += sum(
            any(found[p] == state for _, state in chains[p]) for p in expected
        ) / max(1, len(expected))
        if share > best_share:
            best, best_share = series, share
    if best is None:
        known = ", ".join(series_names(project)) or "none"
        raise PatchseriesError(
            "foreign-directory",
            f"{target.root} has none of the files of any series ({known})",
            "give the top of a vLLM or vllm-ascend source tree",
        )
    require_package(best, target)
    return best


def _require_appliable(
    target: Target, result: Classification, options: Options
) -> None:
    bad = [v for v in result.verdicts if v.outcome != "exact"]
    shown = "".join(f"\n     {v.slug}: {v.outcome} {v.detail}" for v in bad[:6])
    name = result.series.name
    if result.state == "not-applied":
        return
    if result.state == "foreign":
        raise PatchseriesError(
            "foreign-directory",
            f"{target.root} has none of the files that {name} touches",
            "give the top of a source tree",
        )
    if result.state == "half-applied":
        raise PatchseriesError(
            "half-patched",
            f"{target.root} has a part of {name}:{shown}",
            "take that part out first (git: `git log`, then `git reset --keep` to the"
            " commit before), or start from a fresh tree",
        )
    mergeable = all(v.outcome in MENDABLE for v in bad)
    if options.three_way and mergeable:
        return
    advice = f"use the tree that the series is written for ({name})"
    if mergeable:
        advice += ", or `--3way`: every patch can be merged"
    raise PatchseriesError(
        "wrong-base", f"{target.root} is not {name}, byte for byte:{shown}", advice
    )


def _commit(
    git: Git,
    target: GitTarget,
    result: Classification,
    receipt: Receipt,
    earlier: Receipt | None,
    options: Options,
) -> RefMove:
    """The series as commits in the target's object store, not yet on any branch."""
    receipt.base = earlier.base if earlier else target.head
    own = f"refs/heads/patchseries/{receipt.series}{target.suffix}"
    receipt.branch = earlier.branch if earlier else own
    receipt.came_from = earlier.came_from if earlier else target.head_ref
    target.require_room(receipt.branch)
    tip_before = branch_tip(target, receipt.branch)
    receipt.tip = build_commits(
        git, receipt.base, result, _signer(target) if options.signoff else ""
    )
    known = ("", receipt.tip, earlier.tip if earlier else "")
    if tip_before not in known or (tip_before and receipt.branch == receipt.came_from):
        name = short(receipt.branch)
        raise PatchseriesError(
            "branch-exists",
            f"branch {name} holds other commits than this series",
            f"`git branch -m {name} NEW` keeps them; if they are edits of the"
            " series, `patchseries refresh` first",
        )
    require_not_elsewhere(
        target, receipt.branch, "switch that worktree to another branch, then try again"
    )
    stage_commits(target, git, receipt.base, receipt.tip)
    return RefMove(
        old=target.head,
        new=receipt.tip,
        head_before=target.head_ref,
        head=receipt.branch,
        branch=receipt.branch,
        tip_before=tip_before,
        tip=receipt.tip,
    )


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


def _signer(target: GitTarget) -> str:
    found = dict(read_user_config(target.root, r"^user\.(name|email)$"))
    if not (found.get("user.name") and found.get("user.email")):
        raise PatchseriesError(
            "no-identity",
            "--signoff needs your name and mail",
            "git config --global user.name ...; git config --global user.email ...",
        )
    return f"{found['user.name']} <{found['user.email']}>"


def ensure_patched(project: Project, source: Source) -> Path:
    """`vllm_src/patched/<tree>`, copied from the pristine tree when missing."""
    path = project.patched / source.tree_name
    if path.is_dir():
        return path
    pristine = require_pristine(project, source)
    project.patched.mkdir(parents=True, exist_ok=True)
    with locked(project.patched, patience_s=120):
        if path.is_dir():
            return path
        with whole_folder(path) as partial:
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(
                pristine, partial, symlinks=True, ignore=skipped, dirs_exist_ok=True
            )
            Git(partial)("update-index", "-q", "--refresh")
    return path
