# SPDX-License-Identifier: Apache-2.0
"""A grafted trace beside the free-running one -> who makes the error of a case.

Each row is judged a second time on new's tensor as new makes it from old's inputs.
Rows that still fail are faults of their own, however many came before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmparity.compare.align import align
from mmparity.compare.descent import between
from mmparity.compare.rows import Readers, judge
from mmparity.compare.tolerances import tolerance_for
from mmparity.trace.hook_points import block_number, pattern_of
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import Fault, Grafted, LayerComparison


def with_grafted(
    case: CaseComparison,
    old: TraceReader,
    grafted: TraceReader,
    oracle: TraceReader | None,
) -> CaseComparison:
    """The case with a grafted verdict in each row that both traces have."""
    pairs = {pair.hook_point: pair for pair in align(old, grafted, oracle).pairs}
    readers = Readers(old, grafted, oracle)
    missed = grafted.meta.not_grafted
    layers: list[LayerComparison] = []
    for layer in case.layers:
        pair = pairs.get(layer.hook_point)
        if pair is None or pair.old is None or pair.new is None:
            layers.append(layer)
            continue
        tolerance = layer.tolerance or tolerance_for(
            layer.hook_point, pair.new.dtype, case.dtype
        )
        outcome = judge(pair, readers, tolerance)
        follows = _follows(layer, layers, missed) if outcome.verdict != "pass" else ()
        row = Grafted(outcome.verdict, outcome.reason, outcome.metrics, follows)
        layers.append(replace(layer, grafted=row))
    return with_faults(replace(case, layers=tuple(layers), not_grafted=missed))


def with_faults(case: CaseComparison) -> CaseComparison:
    """The case with the faults that its grafted rows show, also in its reason."""
    if not any(layer.grafted for layer in case.layers):
        return case
    found = faults(case.layers)
    reason = case.reason.partition("; fed old's tensors")[0]
    if any(layer.verdict == "fail" for layer in case.layers):
        reason += f"; fed old's tensors, {_sentence(found)}"
    return replace(case, faults=found, reason=reason)


def faults(layers: Sequence[LayerComparison]) -> tuple[Fault, ...]:
    """The grafted rows that fail and follow from no other, by hook point."""
    verdicts = {
        layer.hook_point: layer.grafted.verdict for layer in layers if layer.grafted
    }
    rows: dict[str, list[LayerComparison]] = {}
    for layer in layers:
        row = layer.grafted
        if row and row.verdict != "pass" and not row.follows:
            rows.setdefault(pattern_of(layer.hook_point), []).append(layer)
    return tuple(
        Fault(
            hook_point=found[0].hook_point,
            pattern=pattern,
            rows=tuple(layer.hook_point for layer in found),
            about=between(found[0], layers, verdicts),
        )
        for pattern, found in rows.items()
    )


def _follows(
    layer: LayerComparison, before: Sequence[LayerComparison], missed: dict[str, str]
) -> tuple[str, ...]:
    """Failing rows before this one that may reach it, as they could not be fed."""
    block = block_number(layer.hook_point)
    return tuple(
        other.hook_point
        for other in before
        if other.hook_point in missed
        and other.grafted is not None
        and other.grafted.verdict != "pass"
        and other.block in (None, block)
    )


def _sentence(found: Sequence[Fault]) -> str:
    if not found:
        return "no row differs by itself: the error accumulates"
    names = ", ".join(
        fault.hook_point
        + (f" (and {len(fault.rows) - 1} alike)" * (len(fault.rows) > 1))
        for fault in found[:5]
    )
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"{len(found)} differ by themselves: {names}{more}"
