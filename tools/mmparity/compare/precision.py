# SPDX-License-Identifier: Apache-2.0
"""One case in two dtypes -> what kind of difference each hook point has.

A fault of the code is there in float32 too; what float32 does not show comes
from rounding, a kernel or a dtype path. Reads rows, never a tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmparity.types.comparison import CaseComparison, PrecisionKind, PrecisionVerdict
from mmparity.types.row import LayerComparison

HIGH = "float32"


def precision_verdicts(
    cases: Sequence[CaseComparison],
) -> tuple[PrecisionVerdict, ...]:
    """One verdict for each case that ran in float32 and in a narrower dtype."""
    high = {_key(case): case for case in cases if case.dtype == HIGH and case.layers}
    return tuple(
        _verdict(high[_key(case)], case)
        for case in cases
        if case.dtype not in (HIGH, "float64") and case.layers and _key(case) in high
    )


def kind_of(high: LayerComparison | None, low: LayerComparison | None) -> PrecisionKind:
    """What the two rows of one hook point say together."""
    if high is None or low is None or "error" in (high.verdict, low.verdict):
        return "unknown"
    if high.verdict == "fail":
        return "structural"
    if low.verdict == "fail":
        return "dtype path"
    equal = all(row.metrics and row.metrics.bit_equal for row in (high, low))
    return "equal" if equal else "rounding only"


def _key(case: CaseComparison) -> tuple[str, str, str, str, int]:
    meta = case.old_meta
    model, ranks = (meta.model, meta.tensor_parallel) if meta else ("", 1)
    return case.name, case.old, case.new, model, ranks


def _verdict(high: CaseComparison, low: CaseComparison) -> PrecisionVerdict:
    highs = {layer.hook_point: layer for layer in high.layers}
    lows = {layer.hook_point: layer for layer in low.layers}
    names = dict.fromkeys((*highs, *lows))
    kinds = {name: kind_of(highs.get(name), lows.get(name)) for name in names}
    first: dict[str, str] = {
        kind: next(name for name, found in kinds.items() if found == kind)
        for kind in dict.fromkeys(kinds.values())
    }
    return PrecisionVerdict(
        high=high.id,
        low=low.id,
        verdict=_worst(set(kinds.values())),
        counts=dict(Counter(kinds.values())),
        first=first,
        kinds=kinds,
    )


def _worst(kinds: set[PrecisionKind]) -> PrecisionKind:
    order: tuple[PrecisionKind, ...] = (
        "structural",
        "unknown",
        "dtype path",
        "rounding only",
        "equal",
    )
    return next(kind for kind in order if kind in kinds)
