# SPDX-License-Identifier: Apache-2.0
"""Null floors: what differs at a hook point where nothing differs in the code.

Measured from null pairs, one implementation against itself under another thread
count, kernel or packing. A row's margin is its error over its floor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.stored_json import read_versioned, validated
from mmparity.trace.hook_points import GIVEN, pattern_of
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.provenance import Machine, Provenance
from mmparity.types.row import LayerComparison

FLOORS_VERSION = 1


@dataclass(frozen=True)
class Floors:
    """Largest null error of each hook point, over all blocks and null pairs.

    Attributes:
        errors: dtype -> hook point with ``{i}`` for the block -> normalized L2 error.
        sources: where they were measured, one line for each null pair.
        provenance: of the results: machine, versions, sources, command.
    """

    errors: dict[str, dict[str, float]]
    sources: tuple[str, ...]
    provenance: tuple[Provenance, ...] = ()
    version: int = FLOORS_VERSION


def measure_floors(results: Sequence[ComparisonResult]) -> Floors:
    """Floors from comparisons of an implementation with itself."""
    errors: dict[str, dict[str, float]] = {}
    sources = []
    for result in results:
        for case in result.cases:
            _check_null(case)
            for layer in _encoders_rows(case):
                assert layer.metrics is not None
                of_dtype = errors.setdefault(case.dtype, {})
                name = pattern_of(layer.hook_point)
                error = layer.metrics.normalized_l2_error
                of_dtype[name] = max(of_dtype.get(name, 0.0), error)
            sources.append(_source(case, result.provenance))
    if not errors:
        raise MmparityError("no null pair was given: nothing to measure floors from.")
    known = tuple(result.provenance for result in results)
    return Floors(errors, tuple(sources), known)


def write_floors(floors: Floors, file: Path) -> None:
    """Writes the floors as JSON."""
    write_text(file, json.dumps(asdict(floors), indent=1, sort_keys=True) + "\n")


def read_floors(file: Path) -> Floors:
    """Reads what ``write_floors`` wrote."""
    advice = "`mmparity floors` writes one."
    raw = read_versioned(file, "version", FLOORS_VERSION, advice)
    floors = validated(Floors, raw, file)
    for names in floors.errors.values():
        for name, floor in names.items():
            if not 0 <= floor < math.inf:
                raise MmparityError(f"{file}: {name}: {floor} is no floor.")
    return floors


def floor_of(layer: LayerComparison, dtype: str, floors: Floors) -> float | None:
    """The floor of a row; None where none was measured or none applies."""
    if layer.metrics is None or (layer.tolerance and layer.tolerance.exact):
        return None
    return floors.errors.get(dtype, {}).get(pattern_of(layer.hook_point))


def margin(layer: LayerComparison, dtype: str, floors: Floors) -> str:
    """How many floors a row's error is, in words; '' where that says nothing."""
    if layer.metrics is None or (layer.tolerance and layer.tolerance.exact):
        return ""
    floor = floor_of(layer, dtype, floors)
    error = layer.metrics.normalized_l2_error
    if floor is None:
        return "no null floor measured"
    if floor == 0.0:
        return "null pairs are bit-equal here" + ("" if error == 0.0 else "; this not")
    return f"{error / floor:.2g} times the null floor {floor:.2e}"


def _check_null(case: CaseComparison) -> None:
    if case.old != case.new:
        raise MmparityError(
            f"{case.id} is no null pair: {case.old} and {case.new} are compared. "
            "Floors are measured between two captures of one implementation."
        )
    sources = [meta.sources for meta in (case.old_meta, case.new_meta) if meta]
    if len(sources) != 2 or sources[0] != sources[1]:
        raise MmparityError(f"{case.id} is no null pair: the source trees differ.")
    rows = _encoders_rows(case)
    broken = [layer.hook_point for layer in rows if layer.metrics is None]
    if broken or not rows:
        first = broken[0] if broken else "no row"
        raise MmparityError(f"{case.id} measures no floor: {first} has no metrics.")


def _encoders_rows(case: CaseComparison) -> list[LayerComparison]:
    """Without what was given in place of the encoder's result: that has no noise."""
    return [row for row in case.layers if not row.hook_point.startswith(f"{GIVEN}.")]


def _source(case: CaseComparison, provenance: Provenance) -> str:
    machine = provenance.machine or Machine()
    where = machine.processor or "unknown processor"
    created = provenance.created or "at an unknown time"
    about = f", {case.description}" if case.description else ""
    return f"{case.id}{about}, {case.grid_thw}, {created}, {where}"
