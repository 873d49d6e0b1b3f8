# SPDX-License-Identifier: Apache-2.0
"""What a series means for a tree right now. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchseries.apply.apply import choose_series, classify_target
from patchseries.apply.classify import Classification
from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.folder import digest
from patchseries.tree.places import open_target
from patchseries.tree.receipt import Receipt, read_receipt
from patchseries.tree.switch import is_interrupted
from patchseries.tree.target import GitTarget, Target


@dataclass(frozen=True)
class PatchStatus:
    """One row."""

    slug: str
    subject: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Status:
    """One tree and one series.

    Attributes:
        state: applied, applied-old, reinstalled, edited, not-applied, half-applied,
            drifted, foreign or interrupted.
        ready: whether `apply` would go through now; `reason` says why not.
    """

    target: str
    kind: str
    series: str
    state: str
    base: str
    ready: bool
    reason: str
    patches: list[PatchStatus]


def status(project: Project, path: Path, name: str | None) -> Status:
    """Find out how the tree at `path` stands to a series."""
    target = open_target(path)
    receipt = read_receipt(target)
    series = choose_series(project, target, name, receipt)
    receipt = receipt if receipt and receipt.series == series.name else None
    with scratch(*target.objects, project.objects(series.name)) as git:
        result = classify_target(project, git, target, series)
    state = _state(target, result, receipt, digest(series))
    reason = _refusal(target, result, state)
    base = receipt.base if receipt else getattr(target, "head", "")
    rows = [
        PatchStatus(patch.slug, patch.subject, verdict.outcome, verdict.detail)
        for patch, verdict in zip(series.patches, result.verdicts, strict=True)
    ]
    return Status(
        target=str(target.place),
        kind=target.kind,
        series=series.name,
        state=state,
        base=base,
        ready=not reason,
        reason=reason,
        patches=rows,
    )


def _state(
    target: Target, result: Classification, receipt: Receipt | None, now: str
) -> str:
    if is_interrupted(target):
        return "interrupted"
    if receipt and receipt.fits(target):
        return "applied" if receipt.digest == now else "applied-old"
    if receipt and receipt.partly(target):
        return "reinstalled"
    edited = (
        receipt is not None
        and isinstance(target, GitTarget)
        and target.head_ref == receipt.branch
        and target.head != receipt.base
        and target.descends_from(receipt.base)
    )
    return "edited" if edited else result.state


def _refusal(target: Target, result: Classification, state: str) -> str:
    if state == "interrupted":
        return "interrupted: `patchseries apply` or `unapply` finishes or undoes it"
    if state in ("applied", "applied-old", "reinstalled"):
        return ""
    if state == "edited":
        return "edited: `patchseries refresh` exports the commits"
    if state != "not-applied":
        return state
    try:
        target.require_ready(result.before, result.goal)
    except PatchseriesError as error:
        return f"{error.code}: {error.args[0]}"
    return ""
