# SPDX-License-Identifier: Apache-2.0
"""Runs mutants of one implementation, each in a fork of one process.

It imports vLLM's trees once, waits for ``go``, and answers one line of JSON for each
mutant. A fork edits, builds, captures and compares; its memory and its edits end with
it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import torch

from harness_checks.mutants.catalogue import Mutant, edited_files, read_catalogue
from harness_checks.mutants.swap import SwapError, swap
from harness_checks.mutants.trial import (
    UNCHANGED,
    ServerJob,
    Trial,
    TrialOutcome,
    raised_in,
    text_of,
)
from harness_checks.mutants.tries import try_alone, try_on_ranks, try_several
from harness_checks.mutants.workload import get as get_workload
from mmparity import encoders
from mmparity.capture.job import GO
from mmparity.files import write_text
from mmparity.processes import answering
from mmparity.workload.implementations import get

LIMIT_SECONDS = 120
INVALID = "invalid"
"""Verdict on an edit that could not be carried out."""
Todo = tuple["Mutant | None", str, str]
"""What to run: a mutant or none, in which dtype, on which workload."""


def main(arguments: Sequence[str]) -> int:
    """Answers each mutant of the job file, the only argument, on standard output."""
    (job_file,) = arguments
    raw = json.loads(Path(job_file).read_text())
    lists = {name: tuple(raw[name]) for name in ("mutants", "peers")}
    with answering() as stream:
        for outcome in _outcomes(ServerJob(**{**raw, **lists})):
            stream.write(json.dumps(asdict(outcome)) + "\n")
    return 0


def _outcomes(job: ServerJob) -> Iterator[TrialOutcome]:
    # A fork has no other thread than the one that forked.
    torch.set_num_threads(1)
    runtime = encoders.start(get(job.implementation), job.trees, "cpu")
    if job.peers:
        from harness_checks.mutants.peers import trial as peers

        peers.prepare(job.peers)
    by_name = {mutant.name: mutant for mutant in read_catalogue()}
    mutants = [by_name[name] for name in job.mutants]
    for edit in (edit for mutant in mutants for edit in mutant.edits):
        import_module(edit.module)
    if sys.stdin.readline() != GO:  # the references are being captured meanwhile
        return
    runs = [(mutant, mutant.dtype, mutant.workload) for mutant in mutants]
    alone = [run for run in runs if get_workload(run[2]).ranks == 1]
    spread = [run for run in runs if get_workload(run[2]).ranks > 1]
    for todo, processes in ((alone, job.processes), (spread, 1)):
        if todo is spread:  # a group of one rank does not survive a fork
            runtime.close()
        before = {(None, dtype, workload): None for _, dtype, workload in todo}
        for part, count in ((list(before), 1), (todo, processes)):
            yield from _forked(part, job, runtime, count)


def _forked(
    todo: Sequence[Todo],
    job: ServerJob,
    runtime: encoders.Runtime,
    processes: int,
) -> Iterator[TrialOutcome]:
    """The outcome of each, as they end; at most ``processes`` at once."""
    waiting = list(reversed(todo))
    running: dict[int, tuple[TrialOutcome, Path]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            mutant, dtype, workload = waiting.pop()
            name = mutant.name if mutant else UNCHANGED
            answer = Path(job.work) / f"{name}-{dtype}-{workload}.json"
            answer.unlink(missing_ok=True)
            rewrites = mutant is not None and mutant.kind == "rewrite"
            trial = Trial(name, dtype, get_workload(workload), job, rewrites)
            pid = os.fork()
            if pid == 0:
                _child(mutant, trial, runtime, answer)
            running[pid] = (trial.outcome("error", place="process"), answer)
        pid, status = os.wait()
        if pid not in running:
            continue
        died, answer = running.pop(pid)
        if answer.is_file():
            raw = json.loads(answer.read_text())
            yield TrialOutcome(**{**raw, "edited": tuple(raw["edited"])})
        else:
            code = os.waitstatus_to_exitcode(status)
            reason = f"its process ended with status {code} and no answer"
            yield replace(died, reason=reason)


def _child(
    mutant: Mutant | None, trial: Trial, runtime: encoders.Runtime, answer: Path
) -> None:
    """Runs in the fork and never returns."""
    signal.alarm(LIMIT_SECONDS)
    started = time.perf_counter()
    edited: tuple[str, ...] = ()
    trees = trial.job.trees
    try:
        for path, before, after in edited_files(mutant.edits if mutant else (), trees):
            edited += swap(str(path.resolve()), before, after)
        outcome = _tried(mutant, trial, runtime)
    except SwapError as error:
        outcome = trial.outcome(INVALID, reason=str(error))
    except Exception as error:
        traceback.print_exc()
        place = raised_in(error, trees)
        outcome = trial.outcome("error", reason=text_of(error), place=place)
    spent = time.perf_counter() - started
    outcome = replace(outcome, edited=edited, seconds=spent)
    if mutant is not None:
        shutil.rmtree(Path(trial.job.work) / trial.name, ignore_errors=True)
    write_text(answer, json.dumps(asdict(outcome)))
    sys.stderr.flush()
    os._exit(0)


def _tried(
    mutant: Mutant | None, trial: Trial, runtime: encoders.Runtime
) -> TrialOutcome:
    if trial.job.peers:
        from harness_checks.mutants.peers import trial as peers

        return peers.tried(mutant, trial, runtime)
    if mutant is not None and mutant.parts:
        return try_several(trial, runtime)
    if trial.workload.ranks > 1:
        return try_on_ranks(trial)
    return try_alone(trial, runtime)
