# SPDX-License-Identifier: Apache-2.0
"""Two trace manifests -> which hook points pair up, and why the others do not.

Metadata only; names are matched exactly, never by likeness. Every hook point of
both sides and everything that a capture could not place comes out exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmparity.errors import MmparityError
from mmparity.trace.hook_points import pattern_of
from mmparity.trace.reader import TraceReader
from mmparity.types.trace import (
    ASSUMED,
    UNKNOWN,
    Side,
    TensorRecord,
    TraceMeta,
    Unmatched,
)


@dataclass(frozen=True)
class Pair:
    """One hook point; a side is None where that side lacks it undeclared."""

    hook_point: str
    old: TensorRecord | None
    new: TensorRecord | None
    oracle: TensorRecord | None
    oracle_absent: str | None = None
    """The declared reason why the oracle has no such hook point."""


@dataclass(frozen=True)
class Alignment:
    """Pairs in old's order of execution, and what has no partner."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[Unmatched, ...]


def check_comparable(old: TraceMeta, new: TraceMeta, *, what: str = "new") -> None:
    """Refuses traces that are not of the same computation."""
    fields = ["weights_digest", "pixels_digest", "grid_thw", "depth"]
    if what != "oracle":
        fields.append("dtype")
    differing = [
        name
        for name in fields
        if getattr(old, name) != getattr(new, name)
        and not {UNKNOWN, ASSUMED, ()} & {getattr(old, name), getattr(new, name)}
    ]
    if differing:
        lines = [
            f"  {name}: old {getattr(old, name)!r}, {what} {getattr(new, name)!r}"
            for name in differing
        ]
        raise MmparityError(
            f"old ({old.implementation}) and {what} ({new.implementation}) are not "
            "traces of the same computation:\n"
            + "\n".join(lines)
            + "\nCapture both from the same checkpoint and the same inputs."
        )
    if what == "oracle" and new.dtype != "float64":
        raise MmparityError(
            f"the oracle ({new.implementation}) ran in {new.dtype}; float64 is needed."
        )


def align(old: TraceReader, new: TraceReader, oracle: TraceReader | None) -> Alignment:
    """Pairs hook points by name; undeclared one-sided ones become half pairs."""
    declared = _declared(old) | _declared(new)
    in_order = [record.hook_point for record in old.records]
    in_order = _insert_missing(in_order, [record.hook_point for record in new.records])
    pairs = []
    one_sided: dict[str, Unmatched] = {}
    for name in in_order:
        sides = [trace.record(name) if name in trace else None for trace in (old, new)]
        reason = _reason(name, declared)
        if None in sides and reason:
            side: Side = "old" if sides[0] else "new"
            one_sided[name] = Unmatched(name, side, reason)
            continue
        pairs.append(pair_of(name, sides[0], sides[1], oracle))
    unmatched = list(one_sided.values())
    for side, trace in (("old", old), ("new", new)):
        for item in trace.unmatched:
            if item.path not in one_sided and not _is_paired(item.path, old, new):
                unmatched.append(
                    Unmatched(item.path, side, item.reason, item.explained)
                )
    return Alignment(tuple(pairs), tuple(unmatched))


def pair_of(
    name: str,
    old: TensorRecord | None,
    new: TensorRecord | None,
    oracle: TraceReader | None,
) -> Pair:
    """One hook point, with what the oracle has or says of it."""
    if oracle is None:
        return Pair(name, old, new, None)
    record = oracle.record(name) if name in oracle else None
    return Pair(name, old, new, record, _reason(name, _declared(oracle)))


def _declared(trace: TraceReader) -> dict[str, str]:
    return {item.path: item.reason for item in trace.unmatched if item.explained}


def _reason(name: str, declared: dict[str, str]) -> str | None:
    """Why a hook point is absent: it alone, or that of every block."""
    return declared.get(name) or declared.get(pattern_of(name))


def _is_paired(path: str, old: TraceReader, new: TraceReader) -> bool:
    """A declaration that is contradicted by both sides having the hook point."""
    return path in old and path in new


def _insert_missing(order: list[str], other: list[str]) -> list[str]:
    """``order`` with the names only in ``other``, each after its predecessor."""
    known = set(order)
    following: dict[str | None, list[str]] = {}
    anchor: str | None = None
    for name in other:
        if name in known:
            anchor = name
        else:
            following.setdefault(anchor, []).append(name)
    merged = list(following.get(None, []))
    for name in order:
        merged.append(name)
        merged.extend(following.get(name, []))
    return merged
