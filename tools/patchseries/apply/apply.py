# SPDX-License-Identifier: Apache-2.0
"""A series onto a tree: all of it, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from patchseries.apply.appliable import require_appliable, require_signed
from patchseries.apply.classify import Classification, classify
from patchseries.apply.commits import plan_commits, signer_of
from patchseries.apply.package import in_scope
from patchseries.errors import PatchseriesError
from patchseries.files import disk_errors, whole_folder
from patchseries.git import Git, Snapshot
from patchseries.locks import locked
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import Source
from patchseries.project import Project
from patchseries.scratch import drop_abandoned, scratch
from patchseries.series.folder import digest, file_digests, read_series, series_names
from patchseries.series.series import Series
from patchseries.tree.journal import Switch
from patchseries.tree.places import open_target, require_package
from patchseries.tree.receipt import Receipt, read_receipt
from patchseries.tree.refs import short
from patchseries.tree.stage import (
    fresh_stage,
    stage_commits,
    stage_files,
    staging_index,
)
from patchseries.tree.switch import execute, recover, tidy
from patchseries.tree.target import GitTarget, Target, on_disk
from patchseries.tree.ways_out import quoted


@dataclass(frozen=True)
class Options:
    """How far `apply` may go; with `dry` it only finds out whether it would."""

    three_way: bool = False
    signoff: bool = False
    dry: bool = False


def apply_all(
    project: Project, targets: Sequence[tuple[Path, str | None]], options: Options
) -> Iterator[str]:
    """Apply to each tree, once it is known that every one of them takes it."""
    for path, name in targets if len(targets) > 1 else ():
        apply(project, path, name, replace(options, dry=True))
    for path, name in targets:
        yield from apply(project, path, name, options)


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
        signer = signer_of(target) if options.signoff else ""
        if fitting and fitting.series == series.name:
            same = fitting.digest == digest(series)
            if same and signer in ("", fitting.signer):
                return [*notes, f"{series.name}: already applied to {target.place}"]
            why = "is to be signed" if same else "changed since it was applied"
            notes.append(f"{series.name} {why}: bringing it up")
            signer = signer or fitting.signer
        elif fitting:
            raise PatchseriesError(
                "other-series",
                f"{target.place} has the series {fitting.series}",
                f"`patchseries unapply --onto {quoted(target.place)}`",
            )
        earlier = fitting or (receipt and receipt.partly(target))
        return notes + _apply_new(project, target, series, earlier, options, signer)


@contextmanager
def held(path: Path) -> Iterator[Target]:
    """The target at `path`, held against other patchseries commands."""
    target = open_target(path)
    with locked(target.private.parent):
        target = open_target(path)  # again: it may have changed while we waited
        drop_abandoned()
        try:
            with disk_errors(target.root, target.private.parent):
                yield target
        finally:
            tidy(target)


def _apply_new(
    project: Project,
    target: Target,
    series: Series,
    earlier: Receipt | None,
    options: Options,
    signer: str,
) -> list[str]:
    alternates = [*target.objects, project.objects(series.name)]
    with scratch(*alternates) as git:
        result = classify_target(project, git, target, series, earlier)
        if result.state == "applied":
            require_signed(target, signer)
            return [f"{series.name}: already applied to {target.place}"]
        require_appliable(target, result, options.three_way)
        before = _before(target, result, earlier)
        goal = dict(earlier.before if earlier else {}) | result.goal
        moves = {path: s for path, s in goal.items() if before.get(path) != s}
        old = {path: before.get(path) for path in moves}
        if isinstance(target, GitTarget):  # as git writes them, and before git looks
            old = on_disk(target.root, moves)
        target.require_ready(before, moves)
        receipt = _receipt_for(result, signer)
        refs = None
        if isinstance(target, GitTarget):
            refs = plan_commits(git, target, result, receipt, earlier)
        if options.dry:
            return []
        shelf, new = _stage(git, target, moves, receipt, again=earlier is not None)
        drop = earlier.made_folders if earlier else []
        execute(target, Switch(str(shelf), old, new, receipt.as_json(), refs, drop))
    where = f", on branch {short(refs.branch)}" if refs else ""
    count = len(series.patches)
    return [f"{series.name}: {count} patches applied to {target.place}{where}"]


def _receipt_for(result: Classification, signer: str) -> Receipt:
    series = result.series
    return Receipt(
        series=series.name,
        digest=digest(series),
        patches=[patch.slug for patch in series.patches],
        before=result.before,
        after=result.goal,
        contents=file_digests(series.patches),
        signer=signer,
    )


def _stage(
    git: Git, target: Target, moves: Snapshot, receipt: Receipt, again: bool
) -> tuple[Path, Snapshot]:
    """Files and commits beside the tree.

    Args:
        again: an earlier state of the series is there, and with it the originals.
    """
    fresh_stage(target)
    if isinstance(target, GitTarget):
        stage_commits(target, git, receipt.base, receipt.tip)
        source = target.git.with_env(GIT_INDEX_FILE=str(staging_index(target)))
    else:
        source = git.with_env(GIT_WORK_TREE=str(git.folder))
    originals = target.private / "originals" if again else None
    return stage_files(target, source, moves, originals)


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
    best = nearest_series(project, target)
    if best is None:
        known = ", ".join(series_names(project)) or "none"
        raise PatchseriesError(
            "foreign-directory",
            f"{target.place} has none of the files of any series ({known})",
            "give the top of a vLLM or vllm-ascend source tree",
        )
    require_package(best, target)
    return best


def nearest_series(project: Project, target: Target) -> Series | None:
    """The series whose files are most those of the target."""
    best, best_share = None, 0.0
    for candidate in series_names(project):
        series = in_scope(read_series(project, candidate), target)
        found = target.snapshot(series.paths)
        chains = series.chains()
        expected = [p for p, chain in chains.items() if chain[0][1] is not None]
        there = sum(found[p] is not None for p in expected)
        if not there:  # the file that a patch deletes is absent anywhere
            continue
        known = sum(any(found[p] == s for _, s in chains[p]) for p in expected)
        share = (there + known) / len(expected)
        if share > best_share:
            best, best_share = series, share
    return best


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
