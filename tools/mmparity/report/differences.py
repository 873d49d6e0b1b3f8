# SPDX-License-Identifier: Apache-2.0
"""What is not a row: unmatched points, structure, emulation, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmparity.report import labels
from mmparity.types import CaseComparison, ComparisonResult, TraceMeta

EXPECTED = ("implementation", "one forward")
"""What always differs between the sides."""
LIST_LIMIT = 400
"""Lines of one table; what is beyond is counted on the page."""

KINDS = {
    "values_changed": "changed",
    "type_changes": "type changed",
    "dictionary_item_added": "only in new",
    "dictionary_item_removed": "only in old",
    "iterable_item_added": "only in new",
    "iterable_item_removed": "only in old",
    "set_item_added": "only in new",
    "set_item_removed": "only in old",
    "attribute_added": "only in new",
    "attribute_removed": "only in old",
}


@dataclass(frozen=True)
class UnmatchedView:
    """A path without a partner, once for all the cases where that is so."""

    path: str
    side: str
    reason: str
    explained: bool
    cases: str


@dataclass(frozen=True)
class ChangeView:
    """One structural difference."""

    kind: str
    path: str
    old: str
    new: str


@dataclass(frozen=True)
class StructureView:
    """The structural differences of one pair of implementations."""

    title: str
    changes: tuple[ChangeView, ...]
    cut: int


@dataclass(frozen=True)
class EmulationView:
    """The operators of one implementation that were not the device's own."""

    implementation: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class SideView:
    """One line of old beside new."""

    name: str
    old: str
    new: str
    differs: bool


def unmatched(cases: Iterable[CaseComparison]) -> tuple[UnmatchedView, ...]:
    """Returns the undeclared ones first, each once with the cases it is in."""
    places: dict[tuple[str, str, str, bool], list[str]] = {}
    total = 0
    for case in cases:
        total += 1
        for item in case.unmatched:
            key = (item.path, item.side, item.reason, item.explained)
            places.setdefault(key, []).append(case.id)
    views = [
        UnmatchedView(
            path=labels.clean(path),
            side=side,
            reason=labels.clean(reason, 400) or "no reason was given",
            explained=explained,
            cases=_cases(ids, total),
        )
        for (path, side, reason, explained), ids in places.items()
    ]
    return tuple(sorted(views, key=lambda view: view.explained))


def _cases(ids: list[str], total: int) -> str:
    distinct = list(dict.fromkeys(ids))
    if len(distinct) == total:
        return "every case" if total > 1 else "the case"
    return labels.clean(distinct[0]) if len(distinct) == 1 else f"{len(distinct)} cases"


def structures(cases: Iterable[CaseComparison]) -> tuple[StructureView, ...]:
    """Returns the differences of each pair, equal ones once."""
    found: dict[tuple[str, tuple[ChangeView, ...]], int] = {}
    for case in cases:
        changes = _merge_blocks(_changes("", case.structure))
        pair = f"{labels.clean(case.old, 80)} → {labels.clean(case.new, 80)}"
        if changes:
            found[pair, changes] = found.get((pair, changes), 0) + 1
    return tuple(
        StructureView(
            title=f"{pair}, {labels.count(number, 'case')}",
            changes=changes[:LIST_LIMIT],
            cut=max(0, len(changes) - LIST_LIMIT),
        )
        for (pair, changes), number in found.items()
    )


def _merge_blocks(changes: Iterable[ChangeView]) -> tuple[ChangeView, ...]:
    """Says once what is so in many blocks; 32 equal lines hide the 33rd."""
    found: dict[ChangeView, list[ChangeView]] = {}
    for change in changes:
        pattern = re.sub(r"\bblocks\.\d+\.", "blocks.*.", change.path)
        found.setdefault(replace(change, path=pattern), []).append(change)
    return tuple(
        members[0]
        if len(members) == 1
        else replace(merged, path=f"{merged.path} ({len(members)} times)")
        for merged, members in found.items()
    )


def _changes(part: str, structure: Mapping[str, Any]) -> Iterator[ChangeView]:
    """Reads deepdiff's dictionaries, kind -> path -> values, one for each part."""
    for key, content in structure.items():
        if key not in KINDS and isinstance(content, Mapping):
            yield from _changes(f"{part}{labels.clean(key)}: ", content)
        elif isinstance(content, Mapping):
            for path, value in content.items():
                yield _change(key, f"{part}{_path(path)}", value)
        elif isinstance(content, (list, tuple)):
            for path in content:
                yield ChangeView(_kind(key), f"{part}{_path(path)}", "", "")
        else:
            yield ChangeView(_kind(key), part, "", labels.plain(content))


def _kind(key: str) -> str:
    return KINDS.get(key, labels.clean(key).replace("_", " "))


def _change(key: str, path: str, value: Any) -> ChangeView:
    if isinstance(value, Mapping) and "old_value" in value:
        old, new = (labels.plain(value.get(f"{side}_value")) for side in ("old", "new"))
    else:
        shown = labels.plain(value)
        old, new = ("", shown) if key.endswith("_added") else (shown, "")
    return ChangeView(_kind(key), path, old, new)


def _path(path: object) -> str:
    """Returns ``root['parameters']['a.b'][0]`` as ``parameters / a.b / 0``."""
    parts = re.findall(r"\['(.*?)'\]|\[\"(.*?)\"\]|\[(\d+)\]", str(path))
    return labels.clean(" / ".join("".join(p) for p in parts) if parts else path)


def emulated(result: ComparisonResult) -> tuple[EmulationView, ...]:
    """Returns what was emulated, per implementation, from the traces themselves."""
    found: dict[str, dict[str, None]] = {}
    for case in result.cases:
        for meta in (case.old_meta, case.new_meta):
            if meta and meta.emulated:
                names = found.setdefault(meta.implementation, {})
                names.update(dict.fromkeys(meta.emulated))
    if not found and result.provenance.get("emulated"):
        found["this run"] = dict.fromkeys(_names(result.provenance["emulated"]))
    return tuple(
        EmulationView(labels.clean(side), tuple(labels.clean(name) for name in names))
        for side, names in found.items()
    )


def _names(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}: {labels.plain(names)}" for key, names in value.items()]
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]


def sides(case: CaseComparison) -> tuple[SideView, ...]:
    """Returns what ran on either side of one case; digests are shortened."""
    old = _facts(case.old, case.old_meta)
    new = _facts(case.new, case.new_meta)
    both = case.old_meta is not None and case.new_meta is not None
    return tuple(
        SideView(
            name=name,
            old=old.get(name, "-"),
            new=new.get(name, "-"),
            differs=both and name not in EXPECTED and old.get(name) != new.get(name),
        )
        for name in dict.fromkeys((*old, *new))
    )


def _tree(tree: str) -> str:
    """A tree's id in short; what was edited since must be seen."""
    return f"{tree[:12]}, modified" if tree.endswith("-modified") else tree[:12]


def _facts(implementation: str, meta: TraceMeta | None) -> dict[str, str]:
    facts = {"implementation": implementation}
    if meta:
        facts["device, dtype"] = f"{meta.device}, {meta.dtype}"
        facts["weights"] = meta.weights_digest[:12]
        facts["pixels"] = meta.pixels_digest[:12]
        facts["blocks"] = str(meta.depth)
        facts["one forward"] = labels.seconds(meta.seconds)
        facts |= {f"tree of {name}": _tree(tree) for name, tree in meta.sources.items()}
        facts |= meta.versions
    return {labels.clean(k, 80): labels.clean(v, 80) for k, v in facts.items()}


def provenance(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Returns provenance flattened to lines, ``sources.vllm.sha256`` and so on."""
    return tuple(_flat("", data))[:LIST_LIMIT]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            name = labels.clean(key, 80)
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)
        return
    if isinstance(value, (int, float)) and "memory" in prefix:
        yield prefix.removesuffix("_bytes"), labels.bytes_(value)
    elif isinstance(value, (int, float)) and prefix.startswith("seconds"):
        yield prefix, labels.seconds(value)
    else:
        yield prefix, labels.plain(value, 2000)
