# SPDX-License-Identifier: Apache-2.0
"""Traces of a run -> one judged case."""

from __future__ import annotations

from mmparity.errors import MmparityError
from mmparity.run.noise import noise_of_run
from mmparity.run.plan import Plan
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import Noise
from mmparity.workload.cases import Case


def compare_case(
    plan: Plan,
    case: Case,
    dtype: str,
    pair: tuple[str, str],
    noise: dict[str, dict[str, Noise]],
) -> CaseComparison:
    """One case of a pair, judged on its traces; an error where that cannot be done.

    ``noise`` is of the pair, by dtype, and is measured when it is asked for first.
    """
    from mmparity.compare.case import compare_traces
    from mmparity.compare.rows import Standard
    from mmparity.trace.reader import TraceReader

    old, new = pair
    try:
        if dtype not in noise:
            noise[dtype] = noise_of_run(plan, pair, dtype)
        here, there = (TraceReader(plan.trace_dir(n, case, dtype)) for n in pair)
        oracle = plan.oracle_trace(case)
        return compare_traces(
            here,
            there,
            TraceReader(oracle) if oracle else None,
            description=case.description,
            repeat=plan.repeat(old, new, case, dtype),
            standard=Standard(plan.expected_of(old, new), noise[dtype]),
        )
    except MmparityError as error:
        return could_not(plan, case, dtype, pair, str(error))


def could_not(
    plan: Plan, case: Case, dtype: str, pair: tuple[str, str], reason: str
) -> CaseComparison:
    """The case as one that could not be judged."""
    old, new = pair
    name = plan.case_name(case)
    return CaseComparison(
        id=f"{name}/{dtype}/{old}:{new}",
        name=name,
        dtype=dtype,
        old=old,
        new=new,
        oracle=next(iter(plan.oracle), None),
        verdict="error",
        reason=reason,
        description=case.description,
        grid_thw=(),
        layers=(),
        unmatched=(),
        structure=(),
        old_meta=None,
        new_meta=None,
        repeat=plan.repeat(old, new, case, dtype),
    )
