# SPDX-License-Identifier: Apache-2.0
"""Gives an implementation its inputs and each change of them, and compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from harness_checks.mutants.workload import Workload, write_checkpoint, write_tensors
from harness_checks.mutants.workload import get as get_workload
from harness_checks.transforms.changes import TRANSFORMS, Changed, Given
from mmparity.capture.job import CaptureJob, Job
from mmparity.capture.worker_process import run_worker
from mmparity.processes import Starter
from mmparity.trace.reader import TraceReader
from mmparity.workload.checkpoint import read_vision_config, vision_weights
from mmparity.workload.implementations import IMPLEMENTATIONS, get
from mmparity.workload.inputs import save_inputs

RESULT = "last_hidden_state"
GRIDS = ((1, 10, 14), (2, 8, 8), (1, 4, 6))
"""Windows cut at two edges; a clip of whole windows; less than a window."""
LOADS = {"qwen2_5_vl": "float", "qwen2_vl": "qwen2", "qwen3_vl": "qwen3"}
"""Family -> the workload that has its tower."""
ALLOWED = {"float32": 3e-6, "float64": 1e-13}
"""Normalized L2 error of the result; 1e-6 and 1e-15 were seen."""
UNCHANGED = "unchanged"


def subjects() -> Iterator[tuple[str, str]]:
    """Each implementation with each of the families whose tower it has.

    Those whose trees are fetched by name only are left out.
    """
    for name, item in IMPLEMENTATIONS.items():
        for family in LOADS:
            if family in item.classes and not item.optional:
                yield name, family


def broken(
    implementation: str,
    family: str,
    trees: dict[str, str],
    work: Path,
    starter: Starter,
) -> dict[str, float]:
    """The changes whose result is not what it must be, and by how much it differs.

    The error is the normalized L2 distance, infinite where shapes differ.
    """
    load = get_workload(LOADS[family])
    given = _given(load, work)
    changes = dict(_changes(given))
    dtype = "float64" if get(implementation).oracle else "float32"
    cases = {UNCHANGED: given, **{name: c.given for name, c in changes.items()}}
    captures = tuple(
        _capture(load, name, case, dtype, work) for name, case in cases.items()
    )
    job = Job(implementation, trees, "", captures)
    run_worker(job, work / "job.json", work / "log", lambda event: None, starter)
    results = {name: TraceReader(work / name / "trace").read(RESULT) for name in cases}
    found = {}
    for name, change in changes.items():
        got, expected = results[name], change.result(results[UNCHANGED])
        # A trace holds large tensors of float64 in float32.
        stored = max(torch.finfo(item.dtype).eps for item in (got, expected))
        allowed = max(ALLOWED[dtype], change.adds, stored)
        error = _error(got, expected)
        if not error <= (0 if change.exact else allowed):
            found[name] = error
    return found


def _given(load: Workload, work: Path) -> Given:
    folder = write_checkpoint(work / "checkpoint", load)
    config = read_vision_config(folder)
    weights = {name: x.float() for name, x in vision_weights(folder, config)}
    noise = torch.Generator().manual_seed(0)
    width = 3 * config.temporal_patch_size * config.patch_size**2
    media = tuple(
        (grid, torch.randn(grid[0] * grid[1] * grid[2], width, generator=noise))
        for grid in GRIDS
    )
    return Given(load.family, load.vision["num_heads"], weights, media, {})


def _changes(given: Given) -> Iterator[tuple[str, Changed]]:
    for name, transform in TRANSFORMS.items():
        change = transform(given)
        if change is not None:
            yield name, change


def _capture(
    load: Workload, name: str, given: Given, dtype: str, work: Path
) -> CaptureJob:
    changed = replace(load, vision={**load.vision, **given.vision})
    folder = write_tensors(work / name / "checkpoint", changed, given.weights)
    inputs = work / name / "inputs.safetensors"
    grids = tuple(grid for grid, _ in given.media)
    save_inputs(inputs, torch.cat([pixels for _, pixels in given.media]), grids, name)
    out = str(work / name / "trace")
    return CaptureJob(
        name, str(inputs), dtype, out, checkpoint=str(folder), only=RESULT
    )


def _error(got: torch.Tensor, expected: torch.Tensor) -> float:
    if got.shape != expected.shape:
        return float("inf")
    return ((got - expected).norm() / expected.norm()).item()
