# SPDX-License-Identifier: Apache-2.0
"""A stored result under other thresholds or measured floors, without a new run.

Only saved metrics are judged again: a row that failed for another reason than a
bound (a NaN, a missing side, a padded lane) fails as before. What was changed is
in the rows' tolerances and in the provenance, so that every report shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmparity.compare.case import case_verdict, qualified
from mmparity.compare.floors import Floors, floor_of, margin
from mmparity.compare.grafted import with_faults
from mmparity.compare.raised import with_raised
from mmparity.compare.result import with_cases
from mmparity.compare.rows import judge_metrics, judged
from mmparity.compare.tolerances import above_noise, held_to, tolerance_for
from mmparity.errors import MmparityError
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.row import Grafted, LayerComparison, Tolerance

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BOUNDS = tuple(
    item.name
    for item in fields(Tolerance)
    if item.name not in ("exact", "identical", "reason")
)


_NOT_TOML = (ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Rule:
    """Other bounds for some hook points, with the reason.

    Attributes:
        hook_point: name or shell pattern, for example ``blocks.*.attn.context``.
        reason: why; a rule without one is refused.
        bounds: field of Tolerance -> value.
        dtype: of the run; every one where it is None.
    """

    hook_point: str
    reason: str
    bounds: dict[str, float]
    dtype: str | None = None

    def fits(self, layer: LayerComparison, dtype: str) -> bool:
        """Whether the rule is for this row."""
        name = fnmatchcase(layer.hook_point, self.hook_point)
        return name and self.dtype in (None, dtype)


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The ``[[rule]]`` entries of a TOML file; the last one that fits counts."""
    try:
        entries = tomllib.loads(Path(file).read_text())["rule"]
        return tuple(_rule(dict(entry), file) for entry in entries)
    except (OSError, KeyError, TypeError, *_NOT_TOML) as error:
        raise MmparityError(
            f"{file} is no file of tolerances: {repr(error)[:200]}. It needs [[rule]] "
            f"entries with hook_point, reason, and some of {', '.join(BOUNDS)}."
        ) from error


def rejudge(
    result: ComparisonResult,
    rules: Sequence[Rule] = (),
    floors: Floors | None = None,
    *,
    source: str = "",
) -> ComparisonResult:
    """The result under today's table, the rules and the floors."""
    used: dict[int, int] = {}
    cases = [_case(case, rules, floors, used) for case in result.cases]
    unused = [
        rule.hook_point for number, rule in enumerate(rules) if number not in used
    ]
    if unused:
        raise MmparityError(
            f"{source or 'the rules'}: no row fits {', '.join(unused)}. `mmparity list "
            "hook-points` shows the names."
        )
    provenance = result.provenance
    if rules:
        overrides = (
            f"{rule.hook_point} ({rule.dtype or 'every dtype'}): {rule.reason}; "
            f"{used[number]} rows"
            for number, rule in enumerate(rules)
        )
        provenance = replace(provenance, tolerance_overrides=tuple(overrides))
    if floors:
        provenance = replace(provenance, null_floors=tuple(floors.sources))
    return with_cases(replace(result, provenance=provenance, since=None), cases)


def _rule(entry: dict[str, Any], file: Path) -> Rule:
    hook_point, reason = str(entry.pop("hook_point")), str(entry.pop("reason")).strip()
    dtype = entry.pop("dtype", None)
    unknown = sorted(set(entry) - set(BOUNDS))
    if unknown or not entry or not reason:
        raise ValueError(f"{hook_point}: unknown {unknown}, or no bound or no reason")
    bounds = {name: float(value) for name, value in entry.items()}
    if any(not value >= 0 for value in bounds.values()):
        raise ValueError(f"{hook_point}: a bound is a number of at least 0")
    if not isinstance(dtype, str | None):
        raise TypeError(f"{hook_point}: dtype is {dtype!r}, and no name")
    return Rule(hook_point, reason, bounds, dtype)


def _case(
    case: CaseComparison,
    rules: Sequence[Rule],
    floors: Floors | None,
    used: dict[int, int],
) -> CaseComparison:
    if not case.layers:
        return case
    layers = tuple(_row(layer, case, rules, floors, used) for layer in case.layers)
    verdict, reason = case_verdict(
        layers, case.unmatched, case.coverage, case.structure
    )
    verdict, reason = with_raised(verdict, reason, layers, case.old_meta, case.new_meta)
    judged = replace(case, layers=layers, verdict=verdict, reason=reason)
    return with_faults(qualified(judged))


def _row(
    layer: LayerComparison,
    case: CaseComparison,
    rules: Sequence[Rule],
    floors: Floors | None,
    used: dict[int, int],
) -> LayerComparison:
    tolerance = _tolerance(layer, case, rules, used)
    if floors is not None:
        parts = (tolerance.reason, margin(layer, case.dtype, floors))
        tolerance = replace(tolerance, reason="; ".join(filter(None, parts)))
        layer = _with_floor(layer, floor_of(layer, case.dtype, floors))
    layer = replace(layer, grafted=_grafted(layer.grafted, tolerance))
    if layer.metrics is None:
        return replace(layer, tolerance=tolerance)
    outcome = judge_metrics(layer.metrics, tolerance)
    exceeded = outcome.exceeded
    if exceeded and layer.verdict == "fail" and layer.allowed == exceeded.allowed:
        outcome = replace(outcome, reason=layer.reason)
    return judged(layer, outcome, tolerance)


def _tolerance(
    layer: LayerComparison,
    case: CaseComparison,
    rules: Sequence[Rule],
    used: dict[int, int],
) -> Tolerance:
    """Of a row: today's, with the last rule that fits; counts in ``used`` what fits."""
    dtype = layer.old_dtype or layer.new_dtype
    quantization = case.old_meta.quantization if case.old_meta else ""
    tolerance = tolerance_for(layer.hook_point, dtype, case.dtype, quantization)
    tolerance = held_to(above_noise(tolerance, layer.noise), case.expected)
    for number, rule in enumerate(rules):
        if not rule.fits(layer, case.dtype):
            continue
        if tolerance.exact:
            raise MmparityError(
                f"the rule for {rule.hook_point} is for {layer.hook_point} too, "
                "which is compared exactly and has no bounds to change."
            )
        used[number] = used.get(number, 0) + 1
        bounds: dict[str, Any] = dict(rule.bounds)
        reason = f"OVERRIDDEN: {rule.reason}"
        tolerance = replace(tolerance, **bounds, identical=False, reason=reason)
    return tolerance


def _with_floor(layer: LayerComparison, floor: float | None) -> LayerComparison:
    if not floor or layer.metrics is None:
        return replace(layer, null_floor=floor, margin=None)
    error = layer.metrics.normalized_l2_error
    return replace(layer, null_floor=floor, margin=error / floor)


def _grafted(row: Grafted | None, tolerance: Tolerance) -> Grafted | None:
    if row is None or row.metrics is None:
        return row
    outcome = judge_metrics(row.metrics, tolerance)
    follows = row.follows if outcome.exceeded else ()
    return replace(row, verdict=outcome.verdict, reason=outcome.reason, follows=follows)
