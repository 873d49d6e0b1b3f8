# SPDX-License-Identifier: Apache-2.0
"""Runs a catalogue: references once, then one server for each implementation."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.peers import run as peers
from harness_checks.mutants.peers.run import Judged
from harness_checks.mutants.server import INVALID
from harness_checks.mutants.trial import UNCHANGED, ServerJob, TrialOutcome
from harness_checks.mutants.workload import SMALLEST, write_cases, write_checkpoint
from harness_checks.mutants.workload import get as get_workload
from mmparity.capture.job import GO, CaptureJob, Job
from mmparity.capture.worker_process import Worker
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.fork_server import ForkServer
from mmparity.processes import Process
from mmparity.run.noise import twin
from mmparity.run.plan import ORACLE, ORACLE_DTYPE
from mmparity.workload.implementations import IMPLEMENTATIONS, get
from mmparity.workload.trees import find_trees

SERVER = "harness_checks.mutants.server"
_ASCEND = ("ascend-0.11.0", "ascend-0.11.0-nopad")
OLDS = {
    "unified": ("vllm-0.12.0",),
    "unified-ascend": _ASCEND,
    "unified-ascend-weights": _ASCEND,
}
"""Implementation that is edited -> those it is compared with: the first of them that
has the tower."""
QUANTIZED_OLDS = {"unified-ascend": ("ascend-0.12.0rc1",)}
"""In W8A8, where another one has the same bits: one channel's scale is little."""

Watcher = Callable[[str], None]


def run_mutants(
    mutants: Sequence[Mutant],
    work: Path,
    watcher: Watcher,
    forks: ForkServer,
    tools: tuple[str, ...] = (),
) -> tuple[dict[str, TrialOutcome], Judged]:
    """The outcome of every mutant by name, and what other ``tools`` say of it.

    ``forks`` have imported the packages of workers.

    Raises MmparityError where the trees without an edit do not pass already.
    """
    data = _prepared(mutants, work)
    jobs = _jobs(mutants, work, data)
    wanted: dict[str, set[tuple[str, str]]] = {}
    for mutant in mutants:
        load = get_workload(mutant.workload).data
        wanted.setdefault(old_of(mutant.on, load), set()).add((load, mutant.dtype))
        if get_workload(load).family in get(ORACLE).classes:
            wanted.setdefault(ORACLE, set()).add((load, ORACLE_DTYPE))
    outcomes: dict[str, TrialOutcome] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(job, work, forks)) for job in jobs]
        edited = ", ".join(job.implementation for job in jobs)
        watcher(f"importing {edited}; capturing {', '.join(wanted)}")
        workers = [
            stack.enter_context(_worker(name, data, sorted(kinds), work, forks))
            for name, kinds in wanted.items()
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda worker: worker.finish(lambda event: None), workers))
        for job, server in zip(jobs, servers, strict=True):
            for outcome in _answers(job, server, work):
                _check(outcome, job.implementation)
                outcomes[outcome.name] = outcome
                watcher(f"{outcome.name}: {outcome.verdict} {outcome.place or ''}")
    if not tools:
        return outcomes, {}
    return outcomes, _judged_by(tools, jobs, mutants, work, watcher, forks)


@dataclass(frozen=True)
class _Data:
    """What the encoders are made of and shown.

    Attributes:
        trees: implementation -> source -> tree.
        weights: workload -> checkpoint.
        inputs: workload -> case -> pixels.
    """

    trees: dict[str, dict[str, str]]
    weights: dict[str, Path]
    inputs: dict[str, dict[str, Path]]


def _prepared(mutants: Sequence[Mutant], work: Path) -> _Data:
    """Finds the trees, tries every edit of a file, and writes weights and pixels."""
    edited = {mutant.on for mutant in mutants}
    olds = {old_of(mutant.on, get_workload(mutant.workload).data) for mutant in mutants}
    names = sorted({ORACLE, *edited, *olds})
    trees = find_trees(names, (), IMPLEMENTATIONS)
    for mutant in mutants:
        for edit in mutant.edits:
            edit.edited(trees[mutant.on])
    work.mkdir(parents=True, exist_ok=True)
    names = sorted({get_workload(mutant.workload).data for mutant in mutants})
    loads = {name: get_workload(name) for name in names}
    return _Data(
        trees,
        {n: write_checkpoint(work / "checkpoints" / n, loads[n]) for n in loads},
        {n: write_cases(work / "inputs" / n, loads[n]) for n in loads},
    )


def _jobs(mutants: Sequence[Mutant], work: Path, data: _Data) -> list[ServerJob]:
    return [
        ServerJob(
            implementation=name,
            olds={
                load: old_of(name, load)
                for load in {
                    get_workload(m.workload).data for m in mutants if m.on == name
                }
            },
            trees=data.trees[name],
            checkpoints={load: str(folder) for load, folder in data.weights.items()},
            inputs={
                load: {case: str(file) for case, file in files.items()}
                for load, files in data.inputs.items()
            },
            references=str(work / "traces"),
            work=str(work / name),
            mutants=tuple(mutant.name for mutant in mutants if mutant.on == name),
            processes=os.cpu_count() or 1,
        )
        for name in sorted({mutant.on for mutant in mutants})
    ]


def old_of(implementation: str, workload: str) -> str:
    """The released implementation that an edited one is compared with."""
    load = get_workload(workload)
    olds = OLDS[implementation]
    if load.quantized:
        olds = QUANTIZED_OLDS.get(implementation, olds)
    return next(old for old in olds if load.family in get(old).classes)


def _judged_by(
    tools: tuple[str, ...],
    jobs: Sequence[ServerJob],
    mutants: Sequence[Mutant],
    work: Path,
    watcher: Watcher,
    forks: ForkServer,
) -> Judged:
    """What other tools say, in servers of their own: they change what is imported."""
    outcomes: dict[str, TrialOutcome] = {}
    for job in peers.jobs_for(jobs, mutants, tools):
        watcher(f"{job.implementation}, judged by {', '.join(tools)}")
        try:
            with _server(job, work / "peers", forks) as server:
                for outcome in _answers(job, server, work / "peers"):
                    if outcome.verdict == INVALID:
                        raise MmparityError(f"{outcome.name}: {outcome.reason}")
                    name = outcome.name
                    if name == UNCHANGED:
                        peers.check(outcome)
                        name += f" {job.implementation} {outcome.workload}"
                        name += f" {outcome.dtype}"
                    outcomes[name] = outcome
                    watcher(f"{name}: {peers.sentence(outcome)}")
        finally:
            shutil.rmtree(job.work, ignore_errors=True)
    return peers.judged(mutants, outcomes)


def _check(outcome: TrialOutcome, implementation: str) -> None:
    """Raises MmparityError where an outcome says nothing of the harness."""
    if outcome.name == UNCHANGED and outcome.verdict != "pass":
        raise MmparityError(
            f"{implementation} without an edit does not pass in {outcome.dtype}, "
            f"{outcome.workload}: "
            f"{outcome.place}: {outcome.reason}"
        )
    if outcome.verdict == INVALID:
        raise MmparityError(f"mutant {outcome.name!r}: {outcome.reason}")


def _worker(
    name: str,
    data: _Data,
    kinds: Iterable[tuple[str, str]],
    work: Path,
    forks: ForkServer,
) -> Worker:
    """Captures, once it is let go on, an implementation's traces of each kind."""
    captures = [
        CaptureJob(
            case,
            str(file),
            dtype,
            str(work / "traces" / name / load / f"{case}-{dtype}"),
            checkpoint=str(data.weights[load]),
        )
        for load, dtype in kinds
        for case, file in data.inputs[load].items()
    ]
    if name != ORACLE:
        captures += [twin(item) for item in captures if item.case == SMALLEST]
    # As the servers: another number may sum in another order.
    given = name, data.trees[name], captures[0].checkpoint or "", tuple(captures)
    job = Job(*given, threads=1)
    log = work / "logs" / f"{name}.log"
    return Worker(job, work / "jobs" / f"{name}.json", log, forks)


@contextmanager
def _server(job: ServerJob, work: Path, forks: ForkServer) -> Iterator[Process]:
    """A server that imports its trees and waits; it ends with the ``with``."""
    file = work / "jobs" / f"server-{job.implementation}.json"
    log = _log(job, work)
    Path(job.work).mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(asdict(job), indent=1))
    process = forks.running(SERVER).start([str(file.resolve())], log, {})
    try:
        yield process
    finally:
        process.end()


def _answers(job: ServerJob, process: Process, work: Path) -> Iterator[TrialOutcome]:
    """Hands on what the server answers; every mutant must have an answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    answered = set()
    with suppress(BrokenPipeError):
        process.stdin.write(GO)
        process.stdin.flush()
    for line in process.stdout:
        raw = json.loads(line)
        outcome = TrialOutcome(**{**raw, "edited": tuple(raw["edited"])})
        answered.add(outcome.name)
        yield outcome
    status = process.wait()
    missing = sorted(set(job.mutants) - answered)
    if status or missing:
        raise MmparityError(
            f"the server of {job.implementation} ended with status {status}, without "
            f"an answer for {', '.join(missing) or 'none'}. Its log: {_log(job, work)}"
        )


def _log(job: ServerJob, work: Path) -> Path:
    return work / "logs" / f"server-{job.implementation}.log"
