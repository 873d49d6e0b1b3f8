# SPDX-License-Identifier: Apache-2.0
"""What share of the executed modules and operators was compared or accounted for.

A path that ran and is in no row and in no declaration is uncovered. Metadata
only: it reads manifests and the alignment, never a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmparity.compare.align import Alignment
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import Coverage
from mmparity.types.trace import Side

Place = tuple[Side, str]
RESHAPES = ("squeeze", "tokens", "split_heads", "heads", "channels_last")
"""Transforms that move values and neither split, join, pad nor repeat them."""


def coverage(old: TraceReader, new: TraceReader, alignment: Alignment) -> Coverage:
    """Puts every executed path of both sides into one of four classes."""
    paired = {pair.hook_point for pair in alignment.pairs if pair.old and pair.new}
    declared = {(item.side, item.path) for item in alignment.unmatched}
    matched: set[Place] = set()
    equivalent: set[Place] = set()
    absent: set[Place] = {(i.side, i.path) for i in alignment.unmatched if i.explained}
    uncovered = {(i.side, i.path) for i in alignment.unmatched if not i.explained}
    sides: tuple[tuple[Side, TraceReader], ...] = (("old", old), ("new", new))
    for side, trace in sides:
        for record in trace.records:
            place = side, record.path
            if record.hook_point in paired:
                plain = all(is_reshape(name) for name in record.transforms)
                (matched if plain else equivalent).add(place)
            elif (side, record.hook_point) not in declared:
                uncovered.add(place)
    matched -= equivalent | uncovered
    equivalent -= uncovered
    accounted = matched | equivalent | uncovered
    absent -= accounted
    return _counted(matched, equivalent, absent, uncovered)


def is_reshape(transform: str) -> bool:
    """Whether a transform only changes the view of the same values."""
    return transform.partition(".")[0].startswith(RESHAPES)


def _counted(
    matched: set[Place],
    equivalent: set[Place],
    absent: set[Place],
    uncovered: set[Place],
) -> Coverage:
    executed = len(matched) + len(equivalent) + len(absent) + len(uncovered)
    covered = executed - len(uncovered)
    return Coverage(
        executed=executed,
        matched=len(matched),
        equivalent=len(equivalent),
        absent=len(absent),
        uncovered=len(uncovered),
        percent=100.0 * covered / executed if executed else 0.0,
        uncovered_paths=_named(uncovered),
    )


def _named(places: Iterable[Place]) -> tuple[str, ...]:
    return tuple(f"{side}: {path}" for side, path in sorted(places))
