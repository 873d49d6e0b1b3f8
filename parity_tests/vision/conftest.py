# SPDX-License-Identifier: Apache-2.0
"""Traces of the real encoders, cut in depth; each is captured once per session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mmparity.capture.job import CaptureJob, Job
from mmparity.capture.worker_process import run_worker
from mmparity.processes import Starter
from mmparity.trace import hook_points
from mmparity.trace.reader import TraceReader
from mmparity.workload.cases import Case, Noise, tower_case
from mmparity.workload.implementations import get
from mmparity.workload.inputs import Geometry, write_inputs
from mmparity.workload.seeded import seeded_checkpoint
from mmparity.workload.tower_config import read_vision_config
from mmparity.workload.towers import TOWERS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "vllm_src"
DEPTH = 2
"""One block with window attention, one with full attention."""
GRIDS = ((1, 12, 20), (2, 8, 8), (1, 4, 4))
"""Windows cut at two edges; a clip; less than one window."""
TOWER_GRIDS = ((1, 8, 12), (2, 4, 4))


def work(job: Job, folder: Path, starter: Starter) -> None:
    """Runs a job; its error is the test's."""
    run_worker(job, folder / "job.json", folder / "log", lambda event: None, starter)


def errors(trace: TraceReader, oracle: TraceReader) -> dict[str, float]:
    """Normalized L2 error of each hook point; infinite where it cannot be taken."""
    found = {}
    for record in oracle.records:
        name = record.hook_point
        exact = oracle.read(name).double()
        got = trace.read(name).double() if name in trace else None
        if got is None or got.shape != exact.shape or trace.record(name).error:
            found[name] = float("inf")
            continue
        difference = (got - exact).norm()
        found[name] = (difference / exact.norm()).item() if difference else 0.0
    return found


def wrong(trace: TraceReader, oracle: TraceReader, allowed: float) -> dict[str, float]:
    """The hook points that are further from the oracle than is allowed."""
    return {
        name: error
        for name, error in errors(trace, oracle).items()
        if not error <= (0 if hook_points.get(name).kind == "integer" else allowed)
    }


class Captures:
    """``captures(implementation, dtype)`` -> trace; both dtypes in one process."""

    depth = DEPTH
    grids = GRIDS
    wrong = staticmethod(wrong)

    def __init__(self, root: Path, checkpoints: Path, starter: Starter) -> None:
        self.root, self.checkpoints, self.starter = root, checkpoints, starter
        self.checkpoint = str(seeded_checkpoint(checkpoints, depth=DEPTH))
        media = tuple(Noise(grid, seed) for seed, grid in enumerate(GRIDS))
        self.inputs = str(write_inputs(Case("grids", "seeded noise", media), root))
        self._done: set[Path] = set()

    def __call__(
        self, implementation: str, dtype: str, device: str = "cpu"
    ) -> TraceReader:
        folder = self.root / f"{implementation}-{device}"
        if folder not in self._done:
            trees = self.trees(implementation)
            dtypes = (dtype,) if dtype == "float64" else ("float32", "bfloat16")
            self.run(implementation, trees, folder, dtypes, device)
            self._done.add(folder)
        return TraceReader(folder / dtype)

    def trees(self, implementation: str) -> dict[str, str]:
        folders = get(implementation).trees
        trees = {source: SOURCES / folder for source, folder in folders.items()}
        for tree in trees.values():
            assert tree.is_dir(), f"{tree} is not there; run: make sources apply"
        return {source: str(tree) for source, tree in trees.items()}

    @staticmethod
    def tree_with(tree: str, texts: Mapping[str, str], folder: Path) -> str:
        """A tree of links to ``tree``, in which files have other texts."""
        for package in {file.split("/")[0] for file in texts}:
            shutil.copytree(
                f"{tree}/{package}", folder / package, copy_function=os.symlink
            )
        for file, text in texts.items():
            (folder / file).unlink()
            (folder / file).write_text(text)
        return str(folder)

    def run(
        self,
        implementation: str,
        trees: dict[str, str],
        folder: Path,
        dtypes: tuple[str, ...] = ("float32",),
        device: str = "cpu",
    ) -> None:
        jobs = tuple(
            CaptureJob(
                "grids",
                self.inputs,
                name,
                str(folder / name),
                counted=name == min(dtypes),
            )
            for name in dtypes
        )
        job = Job(implementation, trees, self.checkpoint, jobs, device, DEPTH)
        self.work(job, folder)

    def work(self, job: Job, folder: Path) -> None:
        """Runs a job as ``mmparity run`` does; its error is the test's."""
        work(job, folder, self.starter)


@dataclass
class Towers:
    """``towers(implementation, models, tp)`` -> their traces, from one job.

    With ``data_parallel``, images are spread over the ranks and not weights. ``trees``
    replace an implementation's own; these traces then have a folder of that name.
    """

    root: Path
    checkpoints: Path
    starter: Starter
    depth: int = DEPTH
    wrong = staticmethod(wrong)
    tree_with = staticmethod(Captures.tree_with)

    def __call__(
        self,
        implementation: str,
        models: tuple[str, ...],
        tp: int = 1,
        data_parallel: bool = False,
        *,
        dtype: str = "float32",
        trees: tuple[str, dict[str, str]] | None = None,
    ) -> dict[str, TraceReader]:
        given = get(implementation)
        dtype = "float64" if given.oracle else dtype
        name, folders = trees or ("", {})
        kind = f"{'-data' * data_parallel}{'-bfloat16' * (dtype == 'bfloat16')}{name}"
        folder = self.root / f"{implementation}-{tp}{kind}"
        missing = [m for m in models if not (folder / m / "trace.json").exists()]
        if missing:
            captures = tuple(self._capture(m, dtype, folder / m) for m in missing)
            folders = folders or {n: str(SOURCES / t) for n, t in given.trees.items()}
            folder.mkdir(exist_ok=True)
            job = Job(implementation, folders, "", captures, depth=self.depth, tp=tp)
            work(replace(job, data_parallel=data_parallel), folder, self.starter)
        return {model: TraceReader(folder / model) for model in models}

    def _capture(self, model: str, dtype: str, out: Path) -> CaptureJob:
        checkpoint = seeded_checkpoint(self.checkpoints, model, self.depth)
        geometry = Geometry.of(read_vision_config(checkpoint))
        media = tuple(Noise(grid, seed) for seed, grid in enumerate(TOWER_GRIDS))
        case = Case("grids", "seeded noise", media)
        if model in TOWERS:
            case = tower_case(TOWERS[model])
        inputs = write_inputs(case, self.root / "inputs" / model, geometry)
        return CaptureJob("grids", str(inputs), dtype, str(out), model, str(checkpoint))


@pytest.fixture(scope="session")
def captures(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: Path, starter: Starter
) -> Captures:
    return Captures(tmp_path_factory.mktemp("vision"), checkpoints, starter)


@pytest.fixture(scope="session")
def towers(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: Path, starter: Starter
) -> Towers:
    return Towers(tmp_path_factory.mktemp("towers"), checkpoints, starter)
