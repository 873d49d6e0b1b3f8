# SPDX-License-Identifier: Apache-2.0
"""The worker process: builds one implementation's encoder and captures it.

``python -m mmparity.capture.worker JOB.json``. Its real standard output carries event
lines only; whatever the frameworks print goes to standard error. One dtype's
encoder is in memory at a time.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import psutil
import torch

from mmparity import encoders
from mmparity.capture.finished import without_finished
from mmparity.capture.forwards import is_of_memory, raised, run_before, seconds_of
from mmparity.capture.graft import Graft
from mmparity.capture.images import images_of, observed
from mmparity.capture.job import (
    EXIT_DONE,
    EXIT_ERROR,
    GO,
    OTHER_KERNELS,
    CaptureJob,
    Event,
    Job,
)
from mmparity.capture.ranks import run_ranks
from mmparity.capture.recorder import capturing
from mmparity.capture.trace_meta import Origins, base_meta, config_of, meta_of
from mmparity.capture.weights import Proof, prove_encoder
from mmparity.capture.worker_process import WORKER, may_fork
from mmparity.capture.writers import writer_of
from mmparity.encoders.anatomy import anatomy
from mmparity.encoders.costs import costs_of
from mmparity.encoders.counting import counted
from mmparity.encoders.devices import check_dtype, check_present, check_side
from mmparity.encoders.other_kernels import other_kernels
from mmparity.errors import MmparityError
from mmparity.files import NO_ROOM, cannot_write
from mmparity.fork_server import forks_of_this
from mmparity.processes import Starter, answering
from mmparity.trace.reader import TraceReader
from mmparity.types.trace import Costs, Counts, TraceMeta
from mmparity.workload import checkpoint
from mmparity.workload.implementations import get
from mmparity.workload.inputs import Inputs, read_inputs

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

Emit = Callable[[Event], None]


def main(arguments: list[str]) -> int:
    """Runs the job file that is the only argument; returns the exit code."""
    with answering() as stream:
        emit = partial(_emit, stream)
        try:
            if len(arguments) != 1:
                raise MmparityError("usage: python -m mmparity.capture.worker JOB.json")
            job = _resumed(Job.read(Path(arguments[0])), emit)
            if not job.captures:
                _wait_for_turn()
            elif job.tp > 1 and job.rank is None:
                _wait_for_turn()
                with _starter_of_ranks(job) as starter:
                    run_ranks(job, emit, starter)
            else:
                run(job, emit)
        except MmparityError as error:
            emit(Event("error", kind="input", message=str(error)))
            return EXIT_ERROR
        except Exception as error:
            traceback.print_exc()
            emit(_error_event(error))
            return EXIT_ERROR
        emit(Event("done", peak_memory_bytes=_peak_memory()))
    return EXIT_DONE


def run(job: Job, emit: Emit) -> None:
    """Runs every capture of the job, one dtype after the other."""
    implementation = get(job.implementation)
    check_side(implementation, job.device)
    check_present(job.device, job.tp)
    if job.threads:
        torch.set_num_threads(job.threads)
    for capture in job.captures:
        check_dtype(implementation, capture.dtype)
    towers = {path: config_of(path, job) for path in _checkpoints(job)}
    emit(Event("loading"))
    ranks = encoders.Ranks(job.tp, job.rank or 0, job.meeting_point, job.data_parallel)
    runtime = encoders.start(implementation, job.trees, job.device, ranks)
    process = _Process(runtime, ranks, emit)
    try:
        imported = time.time() - psutil.Process().create_time()
        if job.rank is None:
            _wait_for_turn()
        emit(Event("imported", seconds=imported))
        for path, config in towers.items():
            base = base_meta(job, path, config)
            items = [item for item in job.captures if path == item.checkpoint_in(job)]
            for name in sorted({item.dtype for item in items}):
                encoder = process.load(path, config, name)
                meta = base if implementation.oracle else _with_anatomy(base, encoder)
                proof = prove_encoder(encoder, Path(path), config, ranks)
                for item in items:
                    if item.dtype == name:
                        with (
                            _graft_of(item, ranks) as graft,
                            _kernels_of(item, encoder),
                        ):
                            process.capture(encoder, item, meta, graft, proof)
                del encoder
                gc.collect()
    finally:
        runtime.close()


def _starter_of_ranks(job: Job) -> AbstractContextManager[Starter]:
    """Forks of this process, which has imported their packages, where that works."""
    if not may_fork(job.device):
        return nullcontext(WORKER)
    return forks_of_this("mmparity.capture.worker")


def _resumed(job: Job, emit: Emit) -> Job:
    """The job without what an interrupted one has done."""
    if not job.resume:
        return job
    job, done = without_finished(job, Origins(job).of)
    for item in done:
        emit(Event("kept", case=item.case, dtype=item.dtype))
    return job


def _wait_for_turn() -> None:
    """A worker may be started ahead, to import while another one captures."""
    if sys.stdin.readline() != GO:
        raise MmparityError("the process that started this worker has ended")


def _checkpoints(job: Job) -> list[str]:
    return list(dict.fromkeys(item.checkpoint_in(job) for item in job.captures))


@dataclass(frozen=True)
class _Process:
    """What the captures of this process share."""

    runtime: encoders.Runtime
    ranks: encoders.Ranks
    emit: Emit

    def load(self, path: str, config: Any, dtype: str) -> encoders.Encoder:
        """The encoder of a checkpoint."""
        weights = checkpoint.vision_weights(Path(path), config)
        started = time.perf_counter()
        self.emit(Event("loading", dtype=dtype))
        quantized = checkpoint.quantization_of(Path(path), config)
        encoder = self.runtime.build(config, DTYPES[dtype], weights, quantized)
        seconds = time.perf_counter() - started
        self.emit(Event("loaded", dtype=dtype, seconds=seconds))
        return encoder

    def capture(
        self,
        encoder: encoders.Encoder,
        item: CaptureJob,
        meta: TraceMeta,
        graft: Graft | None,
        proof: Proof,
    ) -> None:
        """Writes the trace of one case."""
        inputs = read_inputs(Path(item.inputs))
        self.emit(Event("capturing", case=item.case, dtype=item.dtype))
        images = images_of(inputs.grid_thw, self.ranks)
        meta = replace(meta_of(meta, item, inputs), images=images)
        before = run_before(encoder, inputs) if item.second else ""
        captured = 0.0
        with writer_of(item, meta) as writer:
            watched, sink = observed(encoder, writer, self.ranks)
            with capturing(watched, meta.depth, sink, graft) as report:
                try:
                    captured = seconds_of(watched, inputs, meta.device)
                except Exception as error:
                    report.raised = raised(error, report.raised_in)
                    if graft is not None or self.ranks.size > 1:  # others wait for it
                        raise RuntimeError(report.raised) from error
            fault = report.raised or before
            for name, reason in proof.wrong.items():
                writer.unmatched(name, f"loaded weights: {reason}", explained=False)
            writer.meta = replace(
                meta,
                emulated=self.runtime.emulated,
                seconds=captured - report.seconds,
                hyper_parameters={**encoder.hyper_parameters, **report.seen},
                not_grafted={} if graft is None else dict(graft.missed),
                proven_weights=proof.proven,
                counts=_counts(encoder, inputs) if item.counted and not fault else None,
                costs=_costs(encoder, inputs) if item.costs and not fault else None,
                raised=fault,
            )
        self.emit(_captured(item, captured, fault))


def _captured(item: CaptureJob, seconds: float, fault: str) -> Event:
    memory = _peak_memory()
    return Event(
        "raised" if fault else "captured",
        case=item.case,
        dtype=item.dtype,
        seconds=seconds,
        peak_memory_bytes=memory,
        message=fault or None,
    )


def _graft_of(item: CaptureJob, ranks: encoders.Ranks) -> Graft | nullcontext[None]:
    if item.graft is None:
        return nullcontext()
    return Graft(TraceReader(Path(item.graft)), ranks.shard, ranks.shards)


def _kernels_of(
    item: CaptureJob, encoder: encoders.Encoder
) -> AbstractContextManager[None]:
    if item.kernels != OTHER_KERNELS:
        return nullcontext()
    return other_kernels(encoder.model)


def _with_anatomy(meta: TraceMeta, encoder: encoders.Encoder) -> TraceMeta:
    return replace(meta, **vars(anatomy(encoder.model)))


def _counts(encoder: encoders.Encoder, inputs: Inputs) -> Counts:
    grid = torch.tensor(inputs.grid_thw)
    with torch.inference_mode():
        return counted(lambda: encoder.forward(inputs.pixel_values, grid))


def _costs(encoder: encoders.Encoder, inputs: Inputs) -> Costs:
    ascend = "vllm_ascend" in sys.modules
    return costs_of(encoder, inputs.pixel_values.shape[1], ascend=ascend)


def _peak_memory() -> int:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return host * (1 if sys.platform == "darwin" else 1024)


def _error_event(error: Exception) -> Event:
    """What is no fault of the user, apart from too little memory or disk."""
    text = f"{type(error).__name__}: {error}".split("\n", 1)[0]
    if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename:
        message = str(cannot_write(Path(os.fsdecode(error.filename)), error))
        return Event("error", kind="input", message=message)
    if is_of_memory(error):
        message = f"not enough memory ({text}). Try a smaller --depth."
        return Event("error", kind="input", message=message)
    return Event("error", kind="internal", message=text)


def _emit(stream: TextIO, event: Event) -> None:
    stream.write(replace(event, at=time.monotonic()).to_line() + "\n")


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # Taking frameworks down takes seconds, and what matters is on the disk.
    os._exit(status)
