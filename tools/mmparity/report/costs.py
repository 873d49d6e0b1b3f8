# SPDX-License-Identifier: Apache-2.0
"""What either side costs: calls of one forward, memory, each process's seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mmparity.report import labels
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.stages import STAGES, Stages, WorkerSeconds
from mmparity.types.trace import Counts, TraceMeta

COUNTS = (
    ("dispatches", "dispatches"),
    ("host reads", "host_reads"),
    ("pads", "pads"),
    ("concatenations", "concatenations"),
)

OWN = ("import", "build", "capture")
"""What a worker did by its own clock."""


@dataclass(frozen=True)
class PairView:
    """The costs of one pair of implementations on one model, old beside new."""

    title: str
    counted: str
    """The forward that was counted; empty where none was on both sides."""
    cells: tuple[str, ...]
    """One for each column; empty where it was not measured."""


@dataclass(frozen=True)
class ProcessView:
    """What one process took of the whole run, one cell for each column."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class CostsView:
    """All tables; any of them may be empty."""

    columns: tuple[str, ...]
    pairs: tuple[PairView, ...]
    emulated: bool
    """Whether emulated operators were among what was timed and counted."""
    stages: tuple[tuple[str, str], ...]
    """What the run did or waited for, and how long."""
    process_columns: tuple[str, ...]
    processes: tuple[ProcessView, ...]


def costs(result: ComparisonResult) -> CostsView:
    """Returns what was measured; what was not is left out."""
    groups: dict[tuple[str, str, str, int], list[CaseComparison]] = {}
    for case in result.cases:
        if case.old_meta and case.new_meta:
            new = case.new_meta
            key = (new.model, case.old, case.new, new.tensor_parallel)
            groups.setdefault(key, []).append(case)
    found = {key: _counts(members) for key, members in groups.items()}
    columns = dict.fromkeys(name for cells in found.values() for name in cells)
    workers = result.stages.workers if result.stages else {}
    return CostsView(
        columns=tuple(columns),
        pairs=tuple(
            PairView(
                title=_title(*key),
                counted=_counted_case(groups[key]),
                cells=tuple(cells.get(name, "") for name in columns),
            )
            for key, cells in found.items()
            if cells
        ),
        emulated=any(m.emulated for case in result.cases for m in _metas(case)),
        stages=_stages(result.stages),
        process_columns=(*(OWN if workers else ()), "time", "memory"),
        processes=_processes(result, workers),
    )


def _metas(case: CaseComparison) -> list[TraceMeta]:
    return [meta for meta in (case.old_meta, case.new_meta) if meta]


def _title(model: str, old: str, new: str, ranks: int) -> str:
    parts = [f"{old} → {new}", model, f"{ranks} ranks" if ranks > 1 else ""]
    return labels.clean(", ".join(filter(None, parts)))


def _both_counted(
    cases: Sequence[CaseComparison],
) -> tuple[CaseComparison, Counts, Counts] | None:
    """The first case that was counted on both sides."""
    for case in cases:
        old, new = _counted(case.old_meta), _counted(case.new_meta)
        if old and new:
            return case, old, new
    return None


def _counted_case(cases: Sequence[CaseComparison]) -> str:
    found = _both_counted(cases)
    return labels.clean(f"{found[0].name}, {found[0].dtype}") if found else ""


def _counts(cases: Sequence[CaseComparison]) -> dict[str, str]:
    found = _both_counted(cases)
    if found is None:
        return {}
    _, old, new = found
    cells = {}
    for name, field in COUNTS:
        a, b = getattr(old, field), getattr(new, field)
        cells[name] = f"{a:,} → {b:,}"
    sizes = labels.bytes_(old.peak_bytes), labels.bytes_(new.peak_bytes)
    cells["peak of its tensors"] = _beside(*sizes, old.peak_bytes, new.peak_bytes)
    return cells


def _beside(old: str, new: str, a: float, b: float) -> str:
    ratio = f" (x{b / a:.2f})" if a else ""
    return f"{old} → {new}{ratio}"


def _counted(meta: TraceMeta | None) -> Counts | None:
    return meta.counts if meta else None


def _stages(found: Stages | None) -> tuple[tuple[str, str], ...]:
    """The stages that took any time, in the order of a run, and the whole of it."""
    if found is None:
        return ()
    named = [(name, found.seconds[name]) for name in STAGES if name in found.seconds]
    total = ("all", sum(found.seconds.values()))
    return tuple((name, labels.seconds(spent)) for name, spent in (*named, total))


def with_unknown_stages(view: CostsView) -> CostsView:
    """The same with a mark for the time of each stage, for `filled` to replace."""
    return replace(view, stages=tuple((name, _mark(name)) for name, _ in view.stages))


def filled(text: str, result: ComparisonResult) -> str:
    """A text with the seconds of the result's stages where marks for them are."""
    for name, spent in _stages(result.stages):
        text = text.replace(_mark(name), spent)
    return text


def _mark(name: str) -> str:
    """Of private characters: what comes from a result has none of these on a page."""
    return f"\ue000{name}\ue001"


def _processes(
    result: ComparisonResult, workers: Mapping[str, WorkerSeconds]
) -> tuple[ProcessView, ...]:
    spent = result.provenance.seconds_by_implementation
    held = result.provenance.peak_memory_by_process
    return tuple(
        ProcessView(
            name=labels.clean(name, 80),
            cells=(
                *(_own(workers.get(name)) if workers else ()),
                labels.seconds(spent.get(name)),
                labels.bytes_(held[name]) if name in held else "n/a",
            ),
        )
        for name in dict.fromkeys((*spent, *held))
    )


def _own(did: WorkerSeconds | None) -> tuple[str, ...]:
    """The cells of OWN."""
    if did is None:
        return ("n/a",) * len(OWN)
    return tuple(map(labels.seconds, (did.importing, did.building, did.capturing)))
