# SPDX-License-Identifier: Apache-2.0
"""The verdict, coverage and precision, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import labels, structures
from mmparity.types.comparison import CaseComparison, ComparisonResult, Coverage
from mmparity.types.evidence import CaseSince

ORDER = ("structural", "unknown", "dtype path", "rounding only", "equal")
"""The most serious first."""


@dataclass(frozen=True)
class PrecisionView:
    """One case in float32 and in a narrower dtype."""

    high: str
    low: str
    verdict: str
    kinds: tuple[tuple[str, str, str], ...]
    """Kind, number of hook points, the first of them."""


@dataclass(frozen=True)
class SinceView:
    """The run before and this one in a sentence, and each case that changed."""

    text: str
    cases: tuple[str, ...]


def coverage(found: Coverage | None) -> str:
    """Returns what became of the executed paths, or '' where it is not known."""
    if found is None:
        return ""
    text = (
        f"{labels.share(found.percent / 100)} of "
        f"{labels.count(found.executed, 'executed path')} covered: "
        f"{found.matched:,} matched, {found.equivalent:,} equivalent after a declared "
        f"transform, {found.absent:,} declared absent"
    )
    if not found.uncovered:
        return text
    names = ", ".join(found.uncovered_paths[:3])
    more = found.uncovered - 3
    rest = f" and {more:,} more" if more > 0 else ""
    return labels.clean(f"{text}, {found.uncovered:,} UNCOVERED ({names}{rest})", 600)


def total_coverage(cases: Sequence[CaseComparison]) -> tuple[tuple[str, str], ...]:
    """Returns the count for the first line; nothing where no case has coverage."""
    known = [case.coverage for case in cases if case.coverage]
    executed = sum(item.executed for item in known)
    if not executed:
        return ()
    covered = executed - sum(item.uncovered for item in known)
    return ((f"of {executed:,} paths covered", labels.share(covered / executed)),)


def precision(result: ComparisonResult) -> tuple[PrecisionView, ...]:
    """Returns one view for each pair of dtypes."""
    return tuple(
        PrecisionView(
            high=labels.clean(item.high),
            low=labels.clean(item.low),
            verdict=item.verdict,
            kinds=tuple(
                (kind, f"{item.counts[kind]:,}", labels.clean(item.first.get(kind, "")))
                for kind in ORDER
                if kind in item.counts
            ),
        )
        for item in result.precision
    )


def overrides(result: ComparisonResult) -> tuple[str, ...]:
    """Returns the overridden tolerances, one line each; they are always shown."""
    items = result.provenance.tolerance_overrides
    return tuple(labels.clean(item, 400) for item in items)


def since(result: ComparisonResult) -> SinceView | None:
    """Returns what is another verdict than in the run before, in words."""
    found = result.since
    if found is None:
        return None
    said = labels.count(len(found.changed), "case")
    changed = f"a verdict changed in {said} of {found.cases:,}"
    rows = labels.count(found.rows, "row")
    moved = f"; {found.moved:,} of {rows} have another error" if found.moved else ""
    if not found.changed:
        changed = f"no verdict changed in {labels.count(found.cases, 'case')}"
        moved = moved or f"; {rows} as they were"
    when = labels.plain(found.created or "unknown")
    lines = tuple(map(_since_case, found.changed))
    return SinceView(f"Since the run of {when}: {changed}{moved}", lines)


def _since_case(case: CaseSince) -> str:
    then, now = labels.VERDICTS[case.then], labels.VERDICTS[case.now]
    parts = [f"{case.broken:,} broken"] if case.broken else []
    parts += [f"{case.mended:,} mended"] if case.mended else []
    rows = f": {', '.join(parts)}, first {case.first}" if parts else ""
    return labels.clean(f"{case.case} {then} → {now}{rows}", 400)


def reuse(result: ComparisonResult) -> str:
    """Returns what was not run but taken from a cache; empty where nothing was."""
    found = result.reuse
    if found is None or not found.traces:
        return ""
    days = sorted({trace.captured[:10] for trace in found.traces})
    sides: dict[str, int] = {}
    for trace in found.traces:
        sides[trace.implementation] = sides.get(trace.implementation, 0) + 1
    return labels.clean(
        f"{len(found.traces):,} of {len(found.traces) + found.captured:,} traces, "
        f"captured {' to '.join(dict.fromkeys((days[0], days[-1])))} "
        "(their seconds are of then): "
        + ", ".join(f"{name} {count}" for name, count in sides.items()),
        400,
    )


def tally(views: Sequence[PrecisionView]) -> list[tuple[str, int]]:
    """Returns how many views have which verdict."""
    counts = [(kind, sum(view.verdict == kind for view in views)) for kind in ORDER]
    return [(kind, count) for kind, count in counts if count]


def headline(result: ComparisonResult) -> str:
    """Returns the verdict in words."""
    s = result.summary
    if result.verdict == "pass":
        return (
            f"the same: {s.passed:,} of {s.passed + s.failed:,} rows within tolerance"
        )
    if result.verdict == "fail" and s.failed:
        return f"different: {s.failed:,} of {s.passed + s.failed:,} rows failed"
    if _by_engine(result):
        differs = result.verdict == "fail"
        rest = "is not" if differs else "could not be judged"
        return f"every layer is the same, but the engine {rest}"
    found = len(structures.undeclared(result.cases))
    if result.verdict == "fail" and found:
        found_text = labels.count(found, "structural difference")
        return f"different: every row passes, but no patch intends {found_text}"
    if result.verdict == "fail":
        failed = sum(case.verdict == "fail" for case in result.cases)
        total = labels.count(len(result.cases), "case")
        return f"different: no row failed, but {failed:,} of {total} did"
    erred = sum(case.verdict == "error" for case in result.cases)
    if not result.cases:
        return "could not be judged: no case ran"
    total = labels.count(len(result.cases), "case")
    return f"could not be judged: {erred:,} of {total} ended in an error"


def _by_engine(result: ComparisonResult) -> bool:
    """Whether the engine alone decided the verdict."""
    layers = {case.verdict for case in result.cases}
    return result.verdict != "pass" and layers == {"pass"}
