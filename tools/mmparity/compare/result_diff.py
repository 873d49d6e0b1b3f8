# SPDX-License-Identifier: Apache-2.0
"""What differs between two results. Pure; when and where they were made is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from mmparity.stored_json import printable
from mmparity.types.comparison import ComparisonResult
from mmparity.types.evidence import CaseSince

SHOWN = 40
Item = TypeVar("Item")
Differences = dict[str, dict[str, object]]
"""Kind of a difference, as deepdiff names it -> path -> what changed there."""


def difference(first: ComparisonResult, second: ComparisonResult) -> Differences:
    """deepdiff of both, keyed by case and hook point; empty if they are the same."""
    from deepdiff import DeepDiff

    old, new = _comparable(first), _comparable(second)
    _drop_equal_rows(old["cases"], new["cases"])
    found = DeepDiff(
        old,
        new,
        verbose_level=2,
        ignore_nan_inequality=True,
        threshold_to_diff_deeper=0,  # or few common cases are one great change
    )
    return dict(json.loads(found.to_json())) if found else {}


def lines(found: Differences, changed: Sequence[CaseSince] = ()) -> Iterator[str]:
    """The differences, one per line, the first so many.

    Of cases in which a verdict changed, what became of their rows says it all.
    """
    if not found:
        yield "the same"
    places = [
        (path, printable(_line(kind, path, change)))
        for kind, items in sorted(found.items())
        for path, change in sorted(items.items())
    ]
    told = {f"root['cases'][{case.case!r}]" for case in changed}
    told |= {"root['first_divergence']", "root['summary']", "root['verdict']"}
    said = [_verdicts(case) for case in changed]
    said += [
        line for path, line in places if not changed or not path.startswith(tuple(told))
    ]
    yield from said[:SHOWN]
    more = len(changed) + len(places) - min(len(said), SHOWN)
    if more > 0:
        yield f"and {more:,} more differences: --json has all"


def _verdicts(case: CaseSince) -> str:
    parts = [f"{case.broken:,} rows pass no more"] if case.broken else []
    parts += [f"{case.mended:,} rows pass now"] if case.mended else []
    rows = f"; {', '.join(parts)}, first {case.first}" if parts else ""
    return printable(f"{case.case}: {case.then} -> {case.now}{rows}")


def _line(kind: str, path: str, change: Any) -> str:
    where = f"{kind.replace('_', ' ')}: {path.removeprefix('root')}"
    if isinstance(change, dict) and "new_value" in change:
        values = f"{change.get('old_value')} -> {change['new_value']}"
        return f"{where}: {values[:200]}"
    return where


def _comparable(result: ComparisonResult) -> dict[str, Any]:
    raw = asdict(result)
    for name in ("provenance", "stages", "reuse", "since"):  # how it was made
        del raw[name]
    if raw["engine"]:
        del raw["engine"]["provenance"], raw["engine"]["speed"]
        rows = raw["engine"]["rows"]
        raw["engine"]["rows"] = _by_name(
            (f"{row['model']} {row['scenario']} {row['old']}:{row['new']}", row)
            for row in rows
        )
        raw["engine"]["memory"] = [
            {**item, "figures": None, "growth": None}
            for item in raw["engine"]["memory"]
        ]
    raw["precision"] = _by_name((item["low"], item) for item in raw["precision"])
    cases = raw["cases"]
    raw["cases"] = {case["id"]: case for case in cases}
    for case in cases:
        case["layers"] = {layer["hook_point"]: layer for layer in case["layers"]}
        case["unmatched"] = _by_name(
            (f"{item['side']}: {item['path']}", item) for item in case["unmatched"]
        )
        case["structure"] = _by_name(
            (f"{item['part']}: {item['path']} {item['kind']} {item['blocks']}", item)
            for item in case["structure"]
        )
        case.pop("repeat")
        for side in ("old_meta", "new_meta"):
            if case[side]:
                case[side].pop("seconds")
    return raw


def _by_name(items: Iterable[tuple[str, Item]]) -> dict[str, Item]:
    """Items by name; of several with one name none is lost."""
    found: dict[str, Item] = {}
    for name, item in items:
        number = 1
        while (key := name if number == 1 else f"{name} ({number})") in found:
            number += 1
        found[key] = item
    return found


def _drop_equal_rows(first: dict[str, Any], second: dict[str, Any]) -> None:
    """deepdiff is slow, and most of ten thousand rows are the same."""
    for name in first.keys() & second.keys():
        rows = first[name]["layers"], second[name]["layers"]
        for point in rows[0].keys() & rows[1].keys():
            if rows[0][point] == rows[1][point]:
                del rows[0][point], rows[1][point]
