# SPDX-License-Identifier: Apache-2.0
"""Traces of the real encoders, cut in depth; each is captured once per session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmparity.cases import Case, Noise
from mmparity.implementations import get
from mmparity.inputs import write_inputs
from mmparity.jobs import CaptureJob, Event, Job
from mmparity.seeded import seeded_checkpoint
from mmparity.tracefile import TraceReader

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "vllm_src"
DEPTH = 2
"""One block with window attention, one with full attention."""
GRIDS = ((1, 12, 20), (2, 8, 8), (1, 4, 4))
"""Windows cut at two edges; a clip; less than one window."""


def run_worker(job: Job, folder: Path) -> None:
    """Runs a job as ``mmparity run`` does; its error is the test's."""
    file = folder / "job.json"
    job.write(file)
    done = subprocess.run(
        [sys.executable, "-m", "mmparity.worker", str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
        capture_output=True,
        text=True,
    )
    events = [Event.from_line(line) for line in done.stdout.splitlines()]
    assert all(events), f"other lines than events: {done.stdout}"
    last = events[-1] if events else None
    assert done.returncode == 0, f"{last and last.message}\n{done.stderr[-4000:]}"
    assert last and last.event == "done"


class Captures:
    """``captures(implementation, dtype)`` -> trace; both dtypes in one process."""

    depth = DEPTH
    grids = GRIDS

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = str(seeded_checkpoint(root, depth=DEPTH))
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

    def run(
        self,
        implementation: str,
        trees: dict[str, str],
        folder: Path,
        dtypes: tuple[str, ...] = ("float32",),
        device: str = "cpu",
    ) -> None:
        jobs = tuple(
            CaptureJob("grids", self.inputs, name, str(folder / name))
            for name in dtypes
        )
        job = Job(implementation, trees, self.checkpoint, jobs, device, DEPTH)
        run_worker(job, folder)


@pytest.fixture(scope="session")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Captures:
    return Captures(tmp_path_factory.mktemp("vision"))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """What ``--device`` says."""
    return str(request.config.getoption("--device"))
