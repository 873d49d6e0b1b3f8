# SPDX-License-Identifier: Apache-2.0
"""Runs the default cases on every family's tower and says which lines were executed.

Towers are narrow and shallow: width and depth take no other path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from coverage import Coverage

from harness_checks.mutants.workload import WORKLOADS, geometry_of, write_checkpoint
from mmparity.capture.job import CaptureJob, Job
from mmparity.capture.worker_process import run_worker
from mmparity.processes import Command
from mmparity.workload.cases import DEFAULT_CASES
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.inputs import write_inputs
from mmparity.workload.trees import find_trees

NEW = ("unified", "unified-ascend", "unified-ascend-weights")
"""Implementations that run the patched trees."""
LOADS = ("float", "qwen2", "omni", "qwen3")
DTYPES = ("float32", "bfloat16")
RESULT = "last_hidden_state"
"""The one tensor that is kept; what is executed matters here."""


def run_default_cases(files: Iterable[str], work: Path) -> Coverage:
    """What the default cases execute of ``files``, in all implementations."""
    trees = find_trees(NEW, (), IMPLEMENTATIONS)
    paths = {name: [str(p) for p in paths_of(files, trees[name])] for name in NEW}
    captures = tuple(_captures(work))
    data = [work / name / "coverage" for name in NEW]
    jobs = [
        Job(name, trees[name], "", tuple(_into(captures, work / name)), threads=1)
        for name in NEW
    ]
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(_watched_worker, job, work / job.implementation, paths[name])
            for job, name in zip(jobs, NEW, strict=True)
        ]
        for item in done:
            item.result()
    result = Coverage(str(work / "all"))
    result.combine([str(file) for file in data], strict=True, keep=True)
    return result


def paths_of(files: Iterable[str], trees: dict[str, str]) -> Iterator[Path]:
    """Where the files are; those of a source that an implementation lacks are not."""
    for file in files:
        source, _, rest = file.partition("/")
        if source in trees:
            yield Path(trees[source]).resolve() / rest


def _captures(work: Path) -> Iterator[CaptureJob]:
    for load in map(WORKLOADS.__getitem__, LOADS):
        folder = write_checkpoint(work / "checkpoints" / load.name, load)
        geometry = geometry_of(load)
        for case in DEFAULT_CASES:
            inputs = write_inputs(case, work / "inputs" / load.name, geometry)
            for dtype in DTYPES:
                name = f"{load.name}-{case.name}-{dtype}"
                yield CaptureJob(
                    name,
                    str(inputs),
                    dtype,
                    name,
                    checkpoint=str(folder),
                    only=RESULT,
                )


def _into(captures: Iterable[CaptureJob], folder: Path) -> Iterator[CaptureJob]:
    for item in captures:
        yield replace(item, out=str(folder / item.out))


def _watched_worker(job: Job, work: Path, files: list[str]) -> None:
    """A worker under coverage.py, which must not slow down all that is imported."""
    work.mkdir(parents=True, exist_ok=True)
    settings = work / "coveragerc"
    lines = ["[run]", f"data_file = {work / 'coverage'}", "patch = _exit", "include ="]
    settings.write_text("\n".join([*lines, *(f"    {file}" for file in files)]))
    words = "-m", "coverage", "run", f"--rcfile={settings}"
    starter = Command((sys.executable, *words, "-m", "mmparity.capture.worker"))
    run_worker(job, work / "job.json", work / "log", lambda event: None, starter)
