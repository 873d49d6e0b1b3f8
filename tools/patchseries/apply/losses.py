# SPDX-License-Identifier: Apache-2.0
"""What writing a tree's commits as the series would silently undo.

A tree may come from an older series than the one in `patches/`: then its commits lack
what was changed there since, and an export would take that back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.series.folder import file_digests, read_series, series_names
from patchseries.series.patch import Patch
from patchseries.tree.receipt import Receipt
from patchseries.tree.target import GitTarget


def require_known(project: Project, dropped: Collection[str]) -> None:
    """Refuse to drop what no series has: it would be a slip of the keyboard."""
    names = series_names(project)
    slugs = {patch.slug for n in names for patch in read_series(project, n).patches}
    if dropped and (unknown := sorted(set(dropped) - slugs)):
        raise PatchseriesError(
            "no-patch",
            f"--drop {unknown[0]}: no series in {project.patches} has such a patch",
            "`patchseries status` lists them",
        )


def require_no_loss(
    target: GitTarget,
    receipt: Receipt | None,
    old: Sequence[Patch],
    new: Sequence[Patch],
    dropped: Collection[str],
    content_id: Callable[[bytes], str],
) -> None:
    """Compare the series that is there with what is to be written over it.

    Args:
        receipt: the tree's, where it is of this series.
        old: the series in `patches/`.
        new: the tree's commits as patches.
        dropped: slugs that are meant to go.

    Raises:
        PatchseriesError: something would be lost, or `dropped` names what is there.
    """
    written = {patch.slug for patch in new}
    if here := sorted(written & set(dropped)):
        raise PatchseriesError(
            "not-dropped",
            f"--drop {here[0]}: {target.root} still has this patch as a commit",
            "take the commit out there (`git rebase -i`), or leave --drop away",
        )
    contents = {content_id(patch.data) for patch in new}
    lost = [
        f"{patch.slug}: no commit of the tree is this patch"
        for patch in old
        if patch.slug not in {*written, *dropped}
        and content_id(patch.data) not in contents
    ]
    known = receipt.contents if receipt else {}
    lost += _undone(known, file_digests(old), file_digests(new))
    if lost:
        raise _refusal(target, receipt, lost)


def _undone(
    known: Mapping[str, str], old: Mapping[str, str], new: Mapping[str, str]
) -> list[str]:
    """What was done to the series since the tree came from it, and is not in it."""
    if not known:
        return []
    changed = [
        f"{slug}: changed in the series since, and not in the tree"
        for slug, digest in old.items()
        if slug in new and new[slug] != digest != known.get(slug)
    ]
    gone = {digest: slug for slug, digest in known.items() if slug not in old}
    back = [
        f"{gone.get(digest, slug)}: taken out of the series since, still in the tree"
        for slug, digest in new.items()
        if slug not in old and (slug in known or digest in gone)
    ]
    return changed + back


def _refusal(
    target: GitTarget, receipt: Receipt | None, lost: Sequence[str]
) -> PatchseriesError:
    shown = "".join(f"\n     {line}" for line in lost[:8])
    more = f"\n     and {len(lost) - 8} more" if len(lost) > 8 else ""
    advice = "rebase the commits onto the series that is there"
    if receipt and receipt.fits(target):
        advice = f"`patchseries apply --onto {target.root}` brings the tree up"
    elif receipt:
        branch = receipt.branch.removeprefix("refs/heads/")
        advice = (
            f"keep your commits (in {target.root}: `git branch -m {branch} mine`, `git"
            f" checkout --detach {receipt.base[:12]}`), `patchseries apply --onto"
            f" {target.root}`, and make your edits again there (`git range-diff"
            f" {receipt.tip[:12]}...mine` shows them)"
        )
    return PatchseriesError(
        "older-series",
        f"the commits of {target.root} would undo {len(lost)} of the patches in"
        f" patches/:{shown}{more}",
        f"{advice}; `--drop SLUG` says that a patch is meant to go",
    )
