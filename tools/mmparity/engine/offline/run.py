# SPDX-License-Identifier: Apache-2.0
"""`mmparity engine`: every side in a process of its own, one engine at a time."""

from __future__ import annotations

import json
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmparity.compare.result import ENGINE_FILE
from mmparity.engine.offline import (
    checkpoints,
    memory,
    outcomes,
    overlay,
    scenarios,
    sides,
)
from mmparity.engine.offline.growth import QUIET
from mmparity.engine.offline.job import EngineJob
from mmparity.engine.offline.judge import PAIRS, EnginePair, judge
from mmparity.engine.offline.result import build, judge_memory
from mmparity.engine.offline.scenarios import ENGINES
from mmparity.engine.offline.sides import Side
from mmparity.errors import MmparityError
from mmparity.processes import started, tail_of
from mmparity.project import ROOT
from mmparity.provenance import of_run
from mmparity.types.engine import EngineMemory, EngineResult, EngineRow
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import check_trees_used, find_trees

CHECKPOINTS = ROOT / "build" / "checkpoints"
SILENCE_SECONDS = 240.0
"""A side that says nothing for so long counts as hung."""
TAIL_LINES = 12
MEMORY_SIDES = ("vllm-0.12.0", "unified")
MEMORY_MODEL = "qwen2.5-vl"

Say = Callable[[str], None]


@dataclass(frozen=True)
class EngineOptions:
    """What is run.

    Attributes:
        sides: all, or these.
        scenarios: all, or these; ``models`` likewise.
        requests: over which memory is measured; 0 for none.
        images: distinct ones that the encoder cache is filled with before.
        trees: ``IMPL:SOURCE=DIR``, as of ``mmparity run``.
    """

    out: Path
    sides: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    requests: int = 2000
    images: int = 500
    trees: tuple[str, ...] = ()


def execute(options: EngineOptions, say: Say) -> EngineResult:
    """Runs every side and judges the pairs of which both sides were asked for."""
    started = time.monotonic()
    chosen = [sides.get(name) for name in options.sides or sides.SIDES]
    names = [side.name for side in chosen]
    pairs = [pair for pair in PAIRS if pair.old in names and pair.new in names]
    if not pairs:
        known = ", ".join(f"{pair.old} and {pair.new}" for pair in PAIRS)
        raise MmparityError(f"no two of these sides are compared. Give {known}.")
    models = options.models or tuple(checkpoints.SERVED)
    for model in models:
        if not scenarios.of_model(model, options.scenarios):
            raise MmparityError(f"{model} has none of the scenarios that were given.")
    check_trees_used(options.trees, names, IMPLEMENTATIONS)
    trees = find_trees(names, options.trees, IMPLEMENTATIONS)
    folders = {side.name: overlay.make(side, trees[side.name]) for side in chosen}
    folder = options.out / "engine"
    shutil.rmtree(folder, ignore_errors=True)
    (options.out / ENGINE_FILE).unlink(missing_ok=True)
    served = {
        name: str(checkpoints.served_checkpoint(CHECKPOINTS, name)) for name in models
    }
    errors: list[str] = []
    for side in chosen:
        job = EngineJob(side.name, str(folder.resolve()), served, options.scenarios)
        _run_side(side, folders[side.name], job, {}, say, errors)
    found = [_measure(side, folders, options, say, errors) for side in chosen]
    rows = [row for pair in pairs for row in _rows(pair, options, models, folder)]
    engines = {item.name: item.about for item in ENGINES.values()}
    about = replace(of_run(started, trees), engines=engines)
    memory_rows = [item for item in found if item is not None]
    return build(rows, memory_rows, _runs(names, models, folder), errors, about)


def _measure(
    side: Side,
    folders: dict[str, Path],
    options: EngineOptions,
    say: Say,
    errors: list[str],
) -> EngineMemory | None:
    """Memory of one side in a process that did nothing else."""
    if not options.requests or side.name not in MEMORY_SIDES:
        return None
    out = options.out / "engine"
    checkpoint = checkpoints.served_checkpoint(CHECKPOINTS, MEMORY_MODEL)
    job = EngineJob(
        side.name,
        str(out.resolve()),
        {MEMORY_MODEL: str(checkpoint)},
        growth=options.requests,
        images=options.images,
    )
    _run_side(side, folders[side.name], job, QUIET, say, errors)
    figures = memory.read(out, side.name, MEMORY_MODEL)
    return judge_memory(figures) if figures else None


def _rows(
    pair: EnginePair, options: EngineOptions, models: Sequence[str], folder: Path
) -> list[EngineRow]:
    rows = []
    for model in models:
        for scenario in scenarios.of_model(model, options.scenarios):
            old, new = (
                outcomes.read(folder, side, model, scenario.name)
                for side in (pair.old, pair.new)
            )
            made = (
                outcomes.read_embeddings(old, folder) if old else [],
                outcomes.read_embeddings(new, folder) if new else [],
            )
            engine = ENGINES[scenario.engine]
            rows.append(judge(pair, scenario, engine, (old, new), made, model))
    return rows


def _runs(
    names: Sequence[str], models: Sequence[str], folder: Path
) -> dict[str, tuple[str, ...]]:
    """What each side's workers said that they run."""
    found = {}
    for name in names:
        read = [
            outcomes.read(folder, name, model, scenario.name)
            for model in models
            for scenario in scenarios.of_model(model)
        ]
        found[name] = tuple(sorted({item.runs for item in read if item and item.runs}))
    return found


def _run_side(
    side: Side,
    overlay_folder: Path,
    job: EngineJob,
    environment: dict[str, str],
    say: Say,
    errors: list[str],
) -> None:
    """One process from start to end; what stopped it goes to ``errors``."""
    name = f"{side.name}-memory" if job.growth else side.name
    folder = Path(job.out)
    job_file, log = folder / f"{name}.job.json", folder / f"{name}.log"
    job.write(job_file)
    process = started(
        [sys.executable, "-m", "mmparity.engine.offline.worker", str(job_file)],
        log,
        {**overlay.environment(side, overlay_folder), **environment},
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        hung = _follow(process, lambda text: say(f"{side.name}  {text}"))
    finally:
        process.end()
    if hung or process.returncode:
        why = "hung" if hung else f"ended with exit status {process.returncode}"
        shown = tail_of(log, TAIL_LINES)
        errors.append(f"{name} {why}\nThe last lines of {log}:\n{shown}")


def _follow(process: subprocess.Popen[str], say: Say) -> bool:
    """Hands progress on until the process ends; True where it says no more."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(SILENCE_SECONDS):
            line = process.stdout.readline()
            if not line:
                process.wait()
                return False
            if line.startswith("#"):
                say(json.loads(line[1:]))
    return True
