# SPDX-License-Identifier: Apache-2.0
"""One trial of a server: builds an encoder, captures each case, compares it.

On one rank in this process; on several in a fork for each.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from harness_checks.mutants.workload import Workload
from mmparity import encoders
from mmparity.capture.gather import gather_traces
from mmparity.capture.graft import Graft
from mmparity.capture.recorder import capturing
from mmparity.capture.worker import DTYPES
from mmparity.compare.align import Pair
from mmparity.compare.case import compare_traces
from mmparity.compare.grafted import with_grafted
from mmparity.compare.rows import Readers, judge
from mmparity.compare.tolerances import tolerance_for
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.comparison import CaseComparison
from mmparity.types.trace import TraceMeta
from mmparity.types.verdict import worst
from mmparity.workload import checkpoint
from mmparity.workload.implementations import get
from mmparity.workload.inputs import read_inputs

UNCHANGED = "unchanged"
"""Name of the trial without an edit."""
RESULT = "last_hidden_state"
LATE_SECONDS = 2.0
"""So long the other ranks may still say why, after one failed."""


@dataclass(frozen=True)
class ServerJob:
    """Who runs what against which traces; a case's traces are in its folder."""

    implementation: str
    old: str
    trees: dict[str, str]
    checkpoints: dict[str, str]
    """Workload -> checkpoint."""
    inputs: dict[str, dict[str, str]]
    """Workload -> case -> pixels."""
    references: str
    """Folder of ``<implementation>/<workload>/<case>-<dtype>`` traces."""
    work: str
    mutants: tuple[str, ...]
    processes: int = 2
    peers: tuple[str, ...] = ()
    """Other tools that judge the mutants, in place of the harness."""


@dataclass(frozen=True)
class Outcome:
    """What one mutant did.

    ``identical``: every tensor of every case has the bits of the tree without
    the edit. ``place`` is the first divergence: a hook point, a module that
    nobody declared, or the function that raised an error.
    """

    name: str
    dtype: str
    verdict: str
    edited: tuple[str, ...] = ()
    identical: bool = False
    case: str | None = None
    place: str | None = None
    reason: str = ""
    seconds: float = 0.0
    workload: str = "float"
    peers: dict[str, Any] = field(default_factory=dict)
    """Name of another tool -> what it found, as ``peers.types.Found``."""


@dataclass(frozen=True)
class Trial:
    """A mutant, or none, in one dtype on one workload."""

    name: str
    dtype: str
    workload: Workload
    job: ServerJob

    def folder(self, case: str, name: str | None = None) -> Path:
        """Where the trace of a case goes; ``name`` for that of another trial."""
        place = Path(self.job.work) / (name or self.name) / self.workload.name
        return place / f"{case}-{self.dtype}"

    def reference(self, implementation: str, case: str, dtype: str) -> TraceReader:
        """A trace of the old implementation or the oracle."""
        folder = Path(self.job.references) / implementation / self.workload.data
        return TraceReader(folder / f"{case}-{dtype}")

    def outcome(self, verdict: str, **known: Any) -> Outcome:
        """What came of it."""
        given = {"workload": self.workload.name, **known}
        return Outcome(self.name, self.dtype, verdict, **given)

    def judged(self, captured: Iterator[tuple[str, Exception | None]]) -> Outcome:
        """Compares case after case as they are captured, up to the first that fails."""
        identical = True
        for case, error in captured:
            old = self.reference(self.job.old, case, self.dtype)
            oracle = self.reference("hf", case, "float64")
            new = TraceReader(self.folder(case))
            found = self._compared(old, new, oracle)
            if error is not None:
                return replace(found, verdict="error", reason=text_of(error))
            unchanged = TraceReader(self.folder(case, UNCHANGED))
            identical = identical and same_bits(new, unchanged)
            if found.verdict != "pass":
                return found
        return self.outcome("pass", identical=identical)

    def _compared(
        self, old: TraceReader, new: TraceReader, oracle: TraceReader
    ) -> Outcome:
        if not self.workload.data_parallel:
            return self._diverged(compare_traces(old, new, oracle))
        here, there, exact = (trace.record(RESULT) for trace in (old, new, oracle))
        pair = Pair(RESULT, here, there, exact)
        stored, quantization = old.record(RESULT).dtype, old.meta.quantization
        tolerance = tolerance_for(RESULT, stored, self.dtype, quantization)
        judged = judge(pair, Readers(old, new, oracle), tolerance)
        place = RESULT if judged.verdict != "pass" else None
        return self.outcome(
            judged.verdict, case=old.meta.case, place=place, reason=judged.reason
        )

    def _diverged(self, compared: CaseComparison) -> Outcome:
        place, reason = None, compared.reason
        failing = [layer for layer in compared.layers if layer.verdict != "pass"]
        undeclared = [item for item in compared.unmatched if not item.explained]
        if failing:
            place, reason = failing[0].hook_point, failing[0].reason
        elif undeclared:
            place = undeclared[0].path
        return self.outcome(
            compared.verdict, case=compared.name, place=place, reason=reason
        )


def try_alone(trial: Trial, runtime: encoders.Runtime) -> Outcome:
    """A trial in this process."""
    return trial.judged(_captures(trial, runtime, trial.folder))


def try_several(trial: Trial, runtime: encoders.Runtime) -> Outcome:
    """A trial that names every independent fault, by grafting."""
    faults: dict[str, None] = {}
    verdicts, reason = ["pass"], ""
    free = dict(_captures(trial, runtime, trial.folder))
    fed = dict(_captures(trial, runtime, lambda c: _fed_folder(trial, c), graft=True))
    for error in (*free.values(), *fed.values()):
        if error is not None:
            raise error
    for case in free:
        old = trial.reference(trial.job.old, case, trial.dtype)
        oracle = trial.reference("hf", case, "float64")
        compared = compare_traces(old, TraceReader(trial.folder(case)), oracle)
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


def try_on_ranks(trial: Trial) -> Outcome:
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
        for _, error in _captures(
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


def built(trial: Trial, runtime: encoders.Runtime) -> encoders.Encoder:
    """The encoder of a trial, after a second load of weights."""
    job, load = trial.job, trial.workload
    directory = Path(job.checkpoints[load.data])
    config = checkpoint.read_vision_config(directory)
    weights = list(checkpoint.vision_weights(directory, config))
    others = [(name, tensor.flip(0)) for name, tensor in weights]
    quantized = checkpoint.quantization_of(directory, config)
    if quantized:  # its parameters are laid out anew after the first load
        others = weights
    encoder = runtime.build(config, DTYPES[trial.dtype], others, quantized)
    if not quantized:
        model: Any = encoder.model
        model.load_weights(weights)
    return encoder


def _captures(
    trial: Trial,
    runtime: encoders.Runtime,
    folder_of: Callable[[str], Path],
    graft: bool = False,
) -> Iterator[tuple[str, Exception | None]]:
    """Captures case after case with one encoder, after a second load of weights."""
    job, load = trial.job, trial.workload
    encoder = built(trial, runtime)
    for case, inputs in job.inputs[load.data].items():
        old = trial.reference(job.old, case, trial.dtype)
        meta = replace(old.meta, implementation=job.implementation, modules={})
        out = folder_of(case)
        if load.data_parallel:
            yield case, _result_of(encoder, Path(inputs), meta, out)
        else:
            donor = Graft(old) if graft else None
            yield case, _captured(encoder, Path(inputs), meta, out, donor)


def _captured(
    encoder: encoders.Encoder,
    inputs_file: Path,
    meta: TraceMeta,
    out: Path,
    donor: Graft | None = None,
) -> Exception | None:
    """Writes the trace; where the forward raised an error, of what came before it."""
    inputs = read_inputs(inputs_file)
    with TraceWriter(out, meta) as writer, torch.inference_mode():
        try:
            with donor or nullcontext(), capturing(encoder, meta.depth, writer, donor):
                encoder.forward(inputs.pixel_values, torch.tensor(inputs.grid_thw))
        except Exception as error:
            traceback.print_exc()
            return error
        if donor is not None:
            writer.meta = replace(meta, not_grafted=dict(donor.missed))
    return None


def _result_of(
    encoder: encoders.Encoder, inputs_file: Path, meta: TraceMeta, out: Path
) -> Exception | None:
    """Writes the images' embeddings, in order: each rank computes some of the rows."""
    inputs = read_inputs(inputs_file)
    with TraceWriter(out, meta) as writer, torch.inference_mode():
        images = encoder.forward(inputs.pixel_values, torch.tensor(inputs.grid_thw))
        writer.add(RESULT, torch.cat(list(images)), "(model)")
    return None


def same_bits(trace: TraceReader, other: TraceReader) -> bool:
    """Whether two traces hold the same tensors."""
    digests = [{r.hook_point: r.digest for r in t.records} for t in (trace, other)]
    return digests[0] == digests[1]


def raised_in(error: Exception, trees: dict[str, str]) -> str:
    """The innermost function of the trees that the error went through."""
    roots = tuple(str(Path(tree).resolve()) for tree in trees.values())
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.name for frame in frames if frame.filename.startswith(roots)]
    return f"{inside[-1] if inside else frames[-1].name}()"


def text_of(error: Exception) -> str:
    """The error's first line."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
