# SPDX-License-Identifier: Apache-2.0
"""The ways to run a trial: in this process, twice with grafting, or on ranks."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from harness_checks.mutants.captures import captures
from harness_checks.mutants.trial import Trial, TrialOutcome, raised_in, text_of
from mmparity import encoders
from mmparity.capture.gather import gather_traces
from mmparity.compare.case import compare_traces
from mmparity.compare.grafted import with_grafted
from mmparity.trace.reader import TraceReader
from mmparity.types.verdict import worst
from mmparity.workload.implementations import get

LATE_SECONDS = 2.0
"""So long the other ranks may still say why, after one failed."""


def try_alone(trial: Trial, runtime: encoders.Runtime) -> TrialOutcome:
    """A trial in this process."""
    return trial.judged(captures(trial, runtime, trial.folder))


def try_several(trial: Trial, runtime: encoders.Runtime) -> TrialOutcome:
    """A trial that names every independent fault, by grafting."""
    faults: dict[str, None] = {}
    verdicts, reason, standard = ["pass"], "", trial.standard
    free = dict(captures(trial, runtime, trial.folder))
    fed = dict(captures(trial, runtime, lambda c: _fed_folder(trial, c), graft=True))
    for error in (*free.values(), *fed.values()):
        if error is not None:
            raise error
    for case in free:
        old = trial.old(case)
        oracle = trial.oracle(case)
        new = TraceReader(trial.folder(case))
        compared = compare_traces(old, new, oracle, standard=standard)
        grafted = TraceReader(_fed_folder(trial, case))
        judged = with_grafted(compared, old, grafted, oracle)
        if judged.verdict != "pass":
            verdicts.append(judged.verdict)
            reason = reason or judged.reason
        faults.update(dict.fromkeys(fault.pattern for fault in judged.faults))
    return trial.outcome(
        worst(verdicts), place=", ".join(sorted(faults)), reason=reason
    )


def _fed_folder(trial: Trial, case: str) -> Path:
    folder = trial.folder(case)
    return folder.with_name(f"{folder.name}.grafted")


def try_on_ranks(trial: Trial) -> TrialOutcome:
    """A trial on several ranks, each in a fork that starts its own runtime."""
    folder = Path(trial.job.work) / trial.name / trial.workload.name
    folder.mkdir(parents=True, exist_ok=True)
    meeting_point = folder / f"rendezvous-{trial.dtype}"
    meeting_point.unlink(missing_ok=True)
    pids = {}
    for rank in range(trial.workload.ranks):
        pid = os.fork()
        if pid == 0:
            _run_rank(trial, rank, f"file://{meeting_point}")
        pids[pid] = rank
    failed = wait_for(pids)
    if failed:
        raw = [_error_file(trial, rank) for rank in failed]
        known = [json.loads(file.read_text()) for file in raw if file.is_file()]
        found = known[0] if known else {"reason": f"rank {failed[0]} died"}
        return trial.outcome("error", **found)
    return trial.judged(_gathered(trial))


def _gathered(trial: Trial) -> Iterator[tuple[str, Exception | None]]:
    for case in trial.job.inputs[trial.workload.data]:
        ranks = range(trial.workload.ranks)
        folders = [_rank_folder(trial, case, rank) for rank in ranks]
        gather_traces(folders, trial.folder(case))
        yield case, None


def _rank_folder(trial: Trial, case: str, rank: int) -> Path:
    folder = trial.folder(case)
    return folder.with_name(f"{folder.name}.rank{rank}")


def _error_file(trial: Trial, rank: int) -> Path:
    place = Path(trial.job.work) / trial.name / trial.workload.name
    return place / f"rank{rank}-{trial.dtype}.error"


def _run_rank(trial: Trial, rank: int, meeting_point: str) -> None:
    """Runs in the fork and never returns."""
    from mmparity.encoders.vllm_runtime import VllmRuntime

    status = 0
    try:
        load = trial.workload
        ranks = encoders.Ranks(load.ranks, rank, meeting_point, load.data_parallel)
        job = trial.job
        runtime = VllmRuntime(get(job.implementation), job.trees, "cpu", ranks)
        for _, error in captures(
            trial, runtime, lambda case: _rank_folder(trial, case, rank)
        ):
            if error is not None:
                raise error
        runtime.close()
    except Exception as error:
        traceback.print_exc()
        found = {
            "place": raised_in(error, trial.job.trees),
            "reason": text_of(error),
        }
        _error_file(trial, rank).write_text(json.dumps(found))
        status = 1
    finally:
        os._exit(status)


def wait_for(pids: dict[int, int]) -> list[int]:
    """The ranks that failed, the first one first; the others are ended."""
    failed: list[int] = []
    deadline = float("inf")
    while pids:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            rank = pids.pop(pid)
            if status:
                failed.append(rank)
                deadline = min(deadline, time.monotonic() + LATE_SECONDS)
        elif time.monotonic() > deadline:
            for other in pids:
                os.kill(other, signal.SIGKILL)
            deadline = float("inf")
        else:
            time.sleep(0.01)
    return failed
