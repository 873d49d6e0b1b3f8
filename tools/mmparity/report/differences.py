# SPDX-License-Identifier: Apache-2.0
"""What is not a row: unmatched points, emulation, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmparity.report import changes, labels
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import Reuse
from mmparity.types.trace import TraceMeta

IMPLEMENTATION = "implementation"
"""The fact that always differs between the sides."""
LIST_LIMIT = 400
"""Lines of one table; what is beyond is counted on the page."""


@dataclass(frozen=True)
class UnmatchedView:
    """A path without a partner, once for all the cases where that is so."""

    path: str
    side: str
    reason: str
    explained: bool
    cases: str


@dataclass(frozen=True)
class EmulationView:
    """The operators of one implementation that were not the device's own."""

    implementation: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class SourceView:
    """One source tree: its release, archive and patches, shortened."""

    name: str
    archive: str
    patches: tuple[str, ...]


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


def emulated(result: ComparisonResult) -> tuple[EmulationView, ...]:
    """Returns what was emulated, per implementation, from the traces themselves."""
    found: dict[str, dict[str, None]] = {}
    for case in result.cases:
        for meta in (case.old_meta, case.new_meta):
            if meta and meta.emulated:
                names = found.setdefault(meta.implementation, {})
                names.update(dict.fromkeys(meta.emulated))
    if not found:
        for name, operators in result.provenance.emulated.items():
            found[name] = dict.fromkeys(operators)
    return tuple(
        EmulationView(labels.clean(side), tuple(labels.clean(name) for name in names))
        for side, names in found.items()
    )


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
            differs=both and name != IMPLEMENTATION and old.get(name) != new.get(name),
        )
        for name in dict.fromkeys((*old, *new))
    )


def _tree(tree: str) -> str:
    """A tree's id in short; what was edited since must be seen."""
    return f"{tree[:12]}, modified" if tree.endswith("-modified") else tree[:12]


def _facts(implementation: str, meta: TraceMeta | None) -> dict[str, str]:
    facts = {IMPLEMENTATION: implementation}
    if meta:
        facts["device, dtype"] = f"{meta.device}, {meta.dtype}"
        facts["weights"] = meta.weights_digest[:12]
        facts["pixels"] = meta.pixels_digest[:12]
        facts["blocks"] = str(meta.depth)
        facts |= {f"tree of {name}": _tree(tree) for name, tree in meta.sources.items()}
        facts |= meta.versions
    return {labels.clean(k, 80): labels.clean(v, 80) for k, v in facts.items()}


def sources(result: ComparisonResult) -> tuple[SourceView, ...]:
    """Returns the trees that ran; provenance holds their digests in full."""
    changed = {
        name: changes.summary(tree)
        for tree in result.changes
        for name in (tree.folder, tree.base)
    }
    return tuple(
        SourceView(
            name=labels.clean(name, 80),
            archive=changed.get(name)
            or labels.clean((tree.sha256 or "not pinned")[:12]),
            patches=tuple(
                labels.clean(f"{file.removesuffix('.patch')} {digest[:8]}", 120)
                for file, digest in tree.patches.items()
            ),
        )
        for name, tree in result.provenance.sources.items()
    )


def provenance(result: ComparisonResult) -> tuple[tuple[str, str], ...]:
    """Returns provenance flattened to lines, ``sources.vllm.sha256`` and so on."""
    data = {**_said(asdict(result.provenance)), **_reuse(result.reuse)}
    return tuple(_flat("", data))[:LIST_LIMIT]


def _said(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """What there is something to say of; a measured zero is something."""
    found = {
        name: _said(value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
    }
    return {
        name: value
        for name, value in found.items()
        if value or (isinstance(value, float | int) and value is not False)
    }


def _reuse(found: Reuse | None) -> dict[str, object]:
    if found is None:
        return {}
    reused = {
        f"{trace.implementation} {trace.case} {trace.dtype}": (
            f"{trace.digest}, captured {trace.captured}"
        )
        for trace in found.traces
    }
    why = {name: f"{count:,} captured" for name, count in found.reasons.items()}
    size = {"cache": labels.bytes_(found.cache_bytes)}
    return {**size, "reused": reused or "none", "not_reused": why or "none"}


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
