# SPDX-License-Identifier: Apache-2.0
"""What a result says of a year of releases: errors, who differs from whom and where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmparity.report import labels
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.row import LayerComparison
from mmparity.types.trace import Costs, TraceMeta

LAST = "last_hidden_state"
BEFORE = "embeddings"
_FOLDER = re.compile(r"(?<![\w.`])/(?:[^\s/`]+/)+")


@dataclass(frozen=True)
class Release:
    """One implementation of the year.

    Attributes:
        before: the one it is held against, its predecessor.
        errors: dtype -> layer -> normalized L2 error of its output, of the oracle.
        against_first: dtype -> that of the tower's output, of the first one.
        findings: dtype -> what it computes otherwise than the one before, and where.
        same: dtype -> the largest error against the one before where that is noise.
        since: dtype -> the first hook point that has other bits than the one before.
        costs: where they were measured.
        failed: why there is nothing of it.
    """

    name: str
    before: str = ""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    against_first: dict[str, float] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    same: dict[str, float] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)
    costs: Costs | None = None
    failed: str = ""


def releases(
    result: ComparisonResult, first: str, after: Mapping[str, str]
) -> tuple[Release, ...]:
    """What a result says of each implementation, in the order of its pairs.

    Args:
        first: the implementation that all were compared with.
        after: implementation -> the one before it; ``first`` where it was not run.
    """
    names = list(dict.fromkeys([first, *(case.new for case in result.cases)]))
    found = []
    for name in names:
        before = after.get(name, "")
        if before not in names:
            before = first if name != first else ""
        of = [case for case in result.cases if name in (case.old, case.new)]
        found.append(_release(name, before, first, of))
    return tuple(found)


def _release(
    name: str, before: str, first: str, cases: Sequence[CaseComparison]
) -> Release:
    """One of them, of the cases that it is a side of."""
    own = [case for case in cases if case.new == name] or list(cases)
    broken = [case.reason for case in own if not case.layers]
    metas = [meta for case in cases if (meta := _meta(case, name))]
    errors: dict[str, dict[str, float]] = {}
    for case in own:
        errors.setdefault(case.dtype, _errors(case, new=case.new == name))
    held = {case.dtype: case for case in own if case.old == before}
    differing = {d: said for d, case in held.items() if (said := _difference(case))}
    return Release(
        name=name,
        before=before,
        errors={dtype: by_layer for dtype, by_layer in errors.items() if by_layer},
        against_first={
            case.dtype: row.metrics.normalized_l2_error
            for case in own
            if case.old == first and case.new == name
            for row in case.layers
            if row.hook_point == LAST and row.metrics
        },
        findings=differing,
        same={
            dtype: max(
                row.metrics.normalized_l2_error for row in case.layers if row.metrics
            )
            for dtype, case in held.items()
            if dtype not in differing and case.layers
        },
        since={
            dtype: row.hook_point
            for dtype, case in held.items()
            for row in reversed(case.layers)
            if row.metrics and not row.metrics.bit_equal
        },
        costs=next((meta.costs for meta in metas if meta.costs), None),
        failed=plain(broken[0]) if broken and not errors_of(errors) else "",
    )


def errors_of(errors: Mapping[str, Mapping[str, float]]) -> list[float]:
    """All of them."""
    return [value for by_layer in errors.values() for value in by_layer.values()]


def layers_of(found: Sequence[Release]) -> list[str]:
    """The layers that any of them has an error of, in order of execution."""
    every = (by for item in found for by in item.errors.values())
    return list(dict.fromkeys(name for by_layer in every for name in by_layer))


def _meta(case: CaseComparison, name: str) -> TraceMeta | None:
    return case.new_meta if case.new == name else case.old_meta


def _errors(case: CaseComparison, *, new: bool) -> dict[str, float]:
    """Layer -> error against the oracle, of what each layer hands on."""
    found = {}
    for row in case.layers:
        if row.metrics is None or not _is_layer(row):
            continue
        error = row.metrics.new_oracle_error if new else row.metrics.old_oracle_error
        if error is not None:
            block = row.block
            found[row.hook_point if block is None else f"block {block}"] = error
    return found


def _is_layer(row: LayerComparison) -> bool:
    return row.hook_point in (BEFORE, LAST, f"blocks.{row.block}")


def _difference(case: CaseComparison) -> str:
    """What a case finds different, and at which layer; empty where nothing."""
    if case.verdict == "pass":
        return ""
    failing = next((row for row in case.layers if row.verdict != "pass"), None)
    if failing is None:
        return plain(case.reason)
    return f"`{failing.hook_point}`: {plain(failing.reason)}"


def plain(text: str) -> str:
    """On one line, without the folders of whoever made it, safe in a table."""
    return labels.clean(_FOLDER.sub("", text)).replace("|", "\\|")
