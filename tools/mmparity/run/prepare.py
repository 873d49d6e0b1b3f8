# SPDX-License-Identifier: Apache-2.0
"""Plans with the checkpoints and pixels that they need, made ready on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import free_bytes
from mmparity.project import ROOT
from mmparity.run.feasible import vision_config_of
from mmparity.run.plan import Plan, peak_trace_bytes
from mmparity.workload.cases import Case
from mmparity.workload.inputs import Geometry, write_inputs
from mmparity.workload.models import DEFAULT_MODEL
from mmparity.workload.models import get as get_model

CHECKPOINTS = ROOT / "build" / "checkpoints"
BATCH_BYTES = 6 << 30
"""Traces of several models may take so much of the disk together."""


@dataclass(frozen=True)
class Subject:
    """A plan with its checkpoint and its pixels."""

    plan: Plan
    checkpoint: Path
    inputs: dict[str, Path]
    trace_bytes: int


def prepare(plans: Sequence[Plan]) -> list[Subject]:
    """Checkpoints and pixels; first, whether the disk will do."""
    sizes = trace_sizes(plans)
    plans[0].options.out.mkdir(parents=True, exist_ok=True)
    return [_subject(plan, size) for plan, size in zip(plans, sizes, strict=True)]


def trace_sizes(plans: Sequence[Plan]) -> list[int]:
    """Bytes of each plan's traces.

    Raises MmparityError where the disk of the output has less room.
    """
    out = plans[0].options.out
    sizes = [_trace_bytes(plan) for plan in plans]
    held = [sum(group) for group in _grouped(sizes)]
    needed = sum(held) if plans[0].options.keep_traces else max(held)
    free = free_bytes(out)
    if needed > free:
        raise MmparityError(
            f"{out} has {free / 2**30:.1f} GiB free; the traces of this run "
            f"take up to {needed / 2**30:.1f} GiB. Give --out on another disk, fewer "
            "--case, or a smaller --depth."
        )
    return sizes


def input_file(plan: Plan, case: Case) -> Path:
    """Where the pixels of a case are."""
    folder = plan.options.out / "inputs" / (plan.model or "")
    return folder / f"{case.name}.safetensors"


def _trace_bytes(plan: Plan) -> int:
    from mmparity.workload.tower_config import with_depth

    config = with_depth(vision_config_of(plan), plan.depth)
    return peak_trace_bytes(plan, config.depth)


def _subject(plan: Plan, trace_bytes: int) -> Subject:
    from mmparity.workload.tower_config import read_vision_config, with_depth

    checkpoint = plan.options.checkpoint or _own_checkpoint(plan)
    config = with_depth(read_vision_config(checkpoint), plan.depth)
    geometry = Geometry.of(config)
    inputs = {
        case.name: write_inputs(case, input_file(plan, case).parent, geometry)
        for case in plan.cases
    }
    return Subject(plan, checkpoint, inputs, trace_bytes)


def _own_checkpoint(plan: Plan) -> Path:
    from mmparity.workload.seeded import seeded_checkpoint
    from mmparity.workload.trained import trained_checkpoint

    model = get_model(plan.model or DEFAULT_MODEL)
    if model.trained:
        return trained_checkpoint(CHECKPOINTS, model)
    return seeded_checkpoint(
        CHECKPOINTS, model.name, plan.depth, quantized=plan.quantized
    )


def batches(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Subjects whose traces fit on the disk together: to start a worker takes long."""
    left = iter(subjects)
    counts = map(len, _grouped([item.trace_bytes for item in subjects]))
    return [list(islice(left, count)) for count in counts]


def _grouped(sizes: Sequence[int]) -> list[list[int]]:
    grouped: list[list[int]] = []
    for size in sizes:
        if not grouped or sum(grouped[-1]) + size > BATCH_BYTES:
            grouped.append([])
        grouped[-1].append(size)
    return grouped
