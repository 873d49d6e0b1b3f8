# SPDX-License-Identifier: Apache-2.0
"""Whether a series goes onto a tree, and what to type in one where it does not."""

from __future__ import annotations

from patchseries.apply.classify import MENDABLE, Classification
from patchseries.errors import PatchseriesError
from patchseries.series.series import Series
from patchseries.tree.receipt import read_receipt
from patchseries.tree.target import GitTarget, Target
from patchseries.tree.ways_out import (
    before_part,
    fresh_tree,
    put_back,
    quoted,
    without_rest,
)


def require_appliable(
    target: Target, result: Classification, three_way: bool = False
) -> None:
    """Refuse a tree that is not as the series wants it.

    Args:
        three_way: take one where every patch can be merged.
    """
    bad = [v for v in result.verdicts if v.outcome != "exact"]
    shown = "".join(f"\n     {v.slug}: {v.outcome} {v.detail}" for v in bad[:6])
    name, place = result.series.name, target.place
    if result.state == "not-applied":
        return
    if result.state == "foreign":
        raise PatchseriesError(
            "foreign-directory",
            f"{place} has none of the files that {name} touches",
            "give the top of a source tree",
        )
    if result.state == "half-applied":
        raise PatchseriesError(
            "half-patched",
            f"{place} has a part of {name}:{shown}",
            way_out(target, result.series),
        )
    mergeable = all(v.outcome in MENDABLE for v in bad)
    if three_way and mergeable:
        return
    advice = f"`patchseries rebase --series {name} --to {quoted(place)}` says what"
    advice += " becomes of each patch"
    if mergeable:
        advice = f"`patchseries apply --3way --onto {quoted(place)}`: every patch can"
        advice += " be merged"
    raise PatchseriesError(
        "wrong-base",
        f"{place} is not {name}, byte for byte:{shown}",
        f"use the tree that the series is written for ({name}), or {advice}",
    )


def require_signed(target: Target, signer: str) -> None:
    """Refuse to say that somebody signed commits which are not this tool's."""
    if signer:
        raise PatchseriesError(
            "nothing-to-sign",
            f"{target.root} has the series, but in commits that are not this tool's",
            "`git rebase --signoff COMMIT`, with the commit before the series",
        )


def way_out(target: Target, series: Series) -> str:
    """What to type in a tree that is neither with nor without a series."""
    if isinstance(target, GitTarget):
        return before_part(target.git, target.root, series)
    receipt = read_receipt(target)
    if receipt is None:
        return fresh_tree(target.place)
    remains = receipt.remains(target)
    if any(receipt.before.get(path) for path in remains):  # not installed anew
        return put_back(target.root, target.private, receipt.edited(target))
    return without_rest(target.place, target.root, [*remains, target.private])
