# SPDX-License-Identifier: Apache-2.0
"""What became of the rows of the run before, which a run takes the place of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmparity.compare.result import read_result
from mmparity.errors import MmparityError
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import CaseSince, Since
from mmparity.types.verdict import Verdict

Rows = dict[str, tuple[str, str]]
"""Hook point -> verdict, and the error as text, in which NaN is itself."""


@dataclass(frozen=True)
class LastRun:
    """What is kept of the run before: of each case its verdict and its rows."""

    created: str
    verdict: Verdict
    cases: dict[str, tuple[Verdict, Rows]]


def last_run(directory: Path) -> LastRun | None:
    """The run whose result is in a folder; None where there is none to be read."""
    try:
        return kept_of(read_result(directory))
    except MmparityError:
        return None


def kept_of(result: ComparisonResult) -> LastRun:
    """What is kept of a result."""
    cases = {case.id: (case.verdict, _rows(case)) for case in result.cases}
    return LastRun(result.provenance.created, result.verdict, cases)


def since(last: LastRun | None, result: ComparisonResult) -> Since | None:
    """The cases of both runs in which a verdict is another one now.

    None where the run before has no case of this one.
    """
    if last is None:
        return None
    shared = [case for case in result.cases if case.id in last.cases]
    if not shared:
        return None
    changed: list[CaseSince] = []
    rows = moved = 0
    for case in shared:
        before, now = last.cases[case.id][1], _rows(case)
        names = [name for name in now if name in before]
        rows += len(names)
        same = [name for name in names if before[name][0] == now[name][0]]
        moved += sum(before[name][1] != now[name][1] for name in same)
        other = [name for name in names if before[name][0] != now[name][0]]
        then = last.cases[case.id][0]
        if other or then != case.verdict:
            changed.append(_changed(case, then, other))
    return Since(last.created, last.verdict, len(shared), rows, moved, tuple(changed))


def _rows(case: CaseComparison) -> Rows:
    return {
        row.hook_point: (
            row.verdict,
            repr(row.metrics and row.metrics.normalized_l2_error),
        )
        for row in case.layers
    }


def _changed(case: CaseComparison, then: Verdict, names: list[str]) -> CaseSince:
    """``names``: of the rows whose verdict is another one."""
    passes = {row.hook_point for row in case.layers if row.verdict == "pass"}
    broken = [name for name in names if name not in passes]
    mended = [name for name in names if name in passes]
    first = next(iter(broken or mended), "")
    return CaseSince(case.id, then, case.verdict, len(broken), len(mended), first)
