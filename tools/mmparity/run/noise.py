# SPDX-License-Identifier: Apache-2.0
"""Noise, measured in the run itself: old's smallest case is captured once more.

With SDPA and products by other kernels, by the worker that captures old anyway. Only
pairs that are not held to the same bits need it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmparity.capture.job import OTHER_KERNELS, CaptureJob
from mmparity.errors import MmparityError
from mmparity.run.plan import Plan
from mmparity.types.row import Noise
from mmparity.workload.cases import Case

KERNELS = "kernels"
LARGEST = 4096
"""In patches; eager attention over more of them would need gigabytes of logits."""


def measures(plan: Plan, implementation: str) -> bool:
    """Whether an implementation is captured twice."""
    held = [plan.expected_of(*pair) for pair in plan.pairs if pair[0] == implementation]
    small = smallest(plan).patches <= LARGEST
    return "floor" in held and small and plan.tp == 1 and not plan.options.statistics


def smallest(plan: Plan) -> Case:
    """The case that is captured twice."""
    return min(plan.cases, key=lambda case: case.patches)


def twins(plan: Plan, name: str, captures: list[CaptureJob]) -> list[CaptureJob]:
    """The captures to make once more, each after its like."""
    if not measures(plan, name):
        return []
    case = plan.case_name(smallest(plan))
    return [twin(item) for item in captures if item.case == case]


def twin(item: CaptureJob) -> CaptureJob:
    """The same capture by other kernels; its trace lies beside the first one."""
    out = _beside(Path(item.out))
    return replace(
        item, out=str(out), kernels=OTHER_KERNELS, counted=False, costs=False
    )


def noise_of_run(plan: Plan, pair: tuple[str, str], dtype: str) -> dict[str, Noise]:
    """Hook point -> what old differs by from itself; empty where none was measured.

    Then the bounds are those of the table, which are no wider.
    """
    old = pair[0]
    if plan.expected_of(*pair) == "identical" or not measures(plan, old):
        return {}
    folder = plan.trace_dir(old, smallest(plan), dtype)
    try:
        return noise_between(folder, plan.oracle_trace(smallest(plan)))
    except MmparityError:
        return {}


def noise_between(folder: Path, oracle: Path | None = None) -> dict[str, Noise]:
    """What a trace and its twin differ by; MmparityError where there is no number."""
    from mmparity.compare.case import compare_traces
    from mmparity.compare.noise import noise_of
    from mmparity.trace.reader import TraceReader

    old, again = TraceReader(folder), TraceReader(_beside(folder))
    return noise_of(compare_traces(old, again, TraceReader(oracle) if oracle else None))


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.{KERNELS}")
