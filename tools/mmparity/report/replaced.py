# SPDX-License-Identifier: Apache-2.0
"""Old code -> new code, with the rows of this result that prove each line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mmparity.report import labels, rows
from mmparity.trace.hook_points import pattern_of
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import ReplacedCode
from mmparity.types.verdict import Verdict


@dataclass(frozen=True)
class ProofView:
    """The rows of one pair and hook point that show that nothing was lost."""

    text: str
    verdict: Verdict | None
    """None where no row of this result is one."""
    counts: str
    anchor: str
    repeat: str


@dataclass(frozen=True)
class ReplacedView:
    """One reason for overrides."""

    row: str
    title: str
    overrides: tuple[str, ...]
    patches: tuple[str, ...]
    proofs: tuple[ProofView, ...]


@dataclass(frozen=True)
class PatchView:
    """One patch, with the diff of its code."""

    slug: str
    path: str
    title: str
    diff: str


def patches(result: ComparisonResult) -> tuple[PatchView, ...]:
    """Returns the patches in the order of the result."""
    return tuple(
        PatchView(
            slug=labels.clean(item.slug, 80),
            path=labels.clean(f"patches/{item.series}/{item.slug}.patch", 200),
            title=labels.clean(item.title, 200),
            diff=item.diff,
        )
        for item in result.patches
    )


def replaced(result: ComparisonResult) -> tuple[ReplacedView, ...]:
    """Returns one line for each reason."""
    return tuple(_line(result, item) for item in result.replaced)


def _line(result: ComparisonResult, item: ReplacedCode) -> ReplacedView:
    return ReplacedView(
        row=labels.clean(item.row, 20),
        title=labels.clean(item.title, 200),
        overrides=tuple(labels.clean(text, 200) for text in item.overrides),
        patches=tuple(labels.clean(slug, 80) for slug in item.patches),
        proofs=tuple(_proof(result, text) for text in item.proofs),
    )


def _proof(result: ComparisonResult, text: str) -> ProofView:
    words = text.split()
    if len(words) < 3:
        return ProofView(labels.clean(text), None, "", "", labels.clean(text))
    model, pair, hook_point, *options = words
    given = dict(zip(options[::2], options[1::2], strict=False))
    found = list(_rows(result, model, pair, hook_point, given))
    failed = [anchor for anchor, verdict in found if verdict != "pass"]
    old, _, new = pair.partition(":")
    command = [
        "mmparity",
        "run",
        "--model",
        model,
        "--old",
        old,
        "--new",
        new,
        *options,
    ]
    if not found:
        return ProofView(labels.clean(text), None, "", "", shlex.join(command))
    counts = f"{len(found) - len(failed):,} of {labels.count(len(found), 'row')} pass"
    anchor = failed[0] if failed else found[0][0]
    verdict: Verdict = "fail" if failed else "pass"
    return ProofView(labels.clean(text), verdict, counts, anchor, shlex.join(command))


def _rows(
    result: ComparisonResult,
    model: str,
    pair: str,
    hook_point: str,
    options: dict[str, str],
) -> Iterator[tuple[str, Verdict]]:
    """Anchor and verdict of each row that is meant."""
    for number, case in enumerate(result.cases, 1):
        if not _is_meant(case, model, pair, options):
            continue
        anchors = rows.anchors(f"case-{number}", case.layers)
        for anchor, layer in zip(anchors, case.layers, strict=True):
            if pattern_of(layer.hook_point) == hook_point:
                yield anchor, layer.verdict


def _is_meant(
    case: CaseComparison, model: str, pair: str, options: dict[str, str]
) -> bool:
    meta = case.new_meta
    if meta is None or meta.model != model or f"{case.old}:{case.new}" != pair:
        return False
    if str(meta.tensor_parallel) != options.get("--tp", "1"):
        return False
    return "--case" not in options or case.name.split("/")[-1] == options["--case"]
