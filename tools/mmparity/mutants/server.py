# SPDX-License-Identifier: Apache-2.0
"""Runs mutants of one implementation, each in a fork of one process.

``python -m mmparity.mutants.server JOB.json`` imports the framework once, which
is what takes long, waits for ``go``, and answers one line of JSON for each
mutant. A fork edits, builds, captures and compares; its memory and its edits
end with it.
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
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mmparity import checkpoint, encoders
from mmparity.capture import capturing
from mmparity.compare import compare_traces
from mmparity.implementations import get
from mmparity.inputs import read_inputs
from mmparity.jobs import GO
from mmparity.mutants.catalogue import Mutant, read_catalogue
from mmparity.mutants.swap import SwapError, swap
from mmparity.tracefile import TraceReader, TraceWriter
from mmparity.types import CaseComparison, TraceMeta
from mmparity.worker import DTYPES

LIMIT_SECONDS = 120
INVALID = "invalid"
"""Verdict on an edit that could not be carried out."""
UNCHANGED = "unchanged"
"""Name of the outcome of a fork without an edit."""


@dataclass(frozen=True)
class ServerJob:
    """Who runs what against which traces; a case's traces are in its folder."""

    implementation: str
    old: str
    trees: dict[str, str]
    checkpoint: str
    inputs: dict[str, str]
    """Case -> pixels."""
    references: str
    """Folder of ``<implementation>/<case>-<dtype>`` traces."""
    work: str
    mutants: tuple[str, ...]
    processes: int = 2


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


def main(job_file: Path) -> int:
    """Answers each mutant of the job on standard output."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    raw = json.loads(job_file.read_text())
    job = ServerJob(**{**raw, "mutants": tuple(raw["mutants"])})
    # A fork has no other thread than the one that forked.
    torch.set_num_threads(1)
    runtime = encoders.start(get(job.implementation), job.trees, "cpu")
    by_name = {mutant.name: mutant for mutant in read_catalogue()}
    mutants = [by_name[name] for name in job.mutants]
    for mutant in mutants:
        import_module(mutant.module)
    if sys.stdin.readline() != GO:  # the references are being captured meanwhile
        return 0
    dtypes = sorted({mutant.dtype for mutant in mutants})
    for outcome in _forked([(None, dtype) for dtype in dtypes], job, runtime, 1):
        stream.write(json.dumps(asdict(outcome)) + "\n")
    todo = [(mutant, mutant.dtype) for mutant in mutants]
    for outcome in _forked(todo, job, runtime, job.processes):
        stream.write(json.dumps(asdict(outcome)) + "\n")
    runtime.close()
    return 0


def _forked(
    todo: Sequence[tuple[Mutant | None, str]],
    job: ServerJob,
    runtime: encoders.Runtime,
    processes: int,
) -> Iterator[Outcome]:
    """The outcome of each, as they end; at most ``processes`` at once."""
    waiting = list(reversed(todo))
    running: dict[int, tuple[str, str, Path]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            mutant, dtype = waiting.pop()
            name = mutant.name if mutant else UNCHANGED
            answer = Path(job.work) / f"{name}-{dtype}.json"
            answer.unlink(missing_ok=True)
            pid = os.fork()
            if pid == 0:
                _child(mutant, dtype, job, runtime, answer)
            running[pid] = (name, dtype, answer)
        pid, status = os.wait()
        if pid not in running:
            continue
        name, dtype, answer = running.pop(pid)
        if answer.is_file():
            raw = json.loads(answer.read_text())
            yield Outcome(**{**raw, "edited": tuple(raw["edited"])})
        else:
            code = os.waitstatus_to_exitcode(status)
            reason = f"its process ended with status {code} and no answer"
            yield Outcome(name, dtype, "error", place="process", reason=reason)


def _child(
    mutant: Mutant | None,
    dtype: str,
    job: ServerJob,
    runtime: encoders.Runtime,
    answer: Path,
) -> None:
    """Runs in the fork and never returns."""
    signal.alarm(LIMIT_SECONDS)
    started = time.perf_counter()
    name = mutant.name if mutant else UNCHANGED
    edited: tuple[str, ...] = ()
    try:
        if mutant is not None:
            before, after = mutant.edited(job.trees)
            path = mutant.path(job.trees).resolve()
            edited = swap(str(path), before, after)
        outcome = replace(_run(name, dtype, job, runtime), edited=edited)
    except SwapError as error:
        outcome = Outcome(name, dtype, INVALID, reason=str(error))
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome(name, dtype, "error", edited, reason=_text(error))
        outcome = replace(outcome, place=_raised_in(error, job.trees))
    outcome = replace(outcome, seconds=time.perf_counter() - started)
    if mutant is not None:
        shutil.rmtree(Path(job.work) / name, ignore_errors=True)
    partial = answer.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(outcome)))
    partial.replace(answer)
    sys.stderr.flush()
    os._exit(0)


def _run(name: str, dtype: str, job: ServerJob, runtime: encoders.Runtime) -> Outcome:
    """Captures case after case with one encoder, after a second load of weights."""
    directory = Path(job.checkpoint)
    config = checkpoint.read_vision_config(directory)
    weights = list(checkpoint.vision_weights(directory, config))
    others = [(name, tensor.flip(0)) for name, tensor in weights]
    encoder = runtime.build(config, DTYPES[dtype], others)
    model: Any = encoder.model
    model.load_weights(weights)
    identical = True
    for case, inputs in job.inputs.items():
        key = f"{case}-{dtype}"
        old = TraceReader(Path(job.references) / job.old / key)
        oracle = TraceReader(Path(job.references) / "hf" / f"{case}-float64")
        meta = replace(old.meta, implementation=job.implementation, modules={})
        new, error = _captured(encoder, Path(inputs), meta, Path(job.work) / name / key)
        compared = compare_traces(old, new, oracle)
        if error is not None:
            raised = _diverged(name, dtype, compared)
            return replace(raised, verdict="error", reason=_text(error))
        unchanged = Path(job.work) / UNCHANGED / key
        identical = identical and _same_bits(new, TraceReader(unchanged))
        if compared.verdict != "pass":
            return _diverged(name, dtype, compared)
    return Outcome(name, dtype, "pass", identical=identical)


def _captured(
    encoder: encoders.Encoder, inputs_file: Path, meta: TraceMeta, out: Path
) -> tuple[TraceReader, Exception | None]:
    """The trace; where the forward raised an error, of what came before it."""
    inputs, raised = read_inputs(inputs_file), None
    with TraceWriter(out, meta) as writer, torch.inference_mode():
        try:
            with capturing(encoder, meta.depth, writer):
                encoder.forward(inputs.pixel_values, torch.tensor(inputs.grid_thw))
        except Exception as error:
            traceback.print_exc()
            raised = error
    return TraceReader(out), raised


def _same_bits(trace: TraceReader, other: TraceReader) -> bool:
    digests = [{r.hook_point: r.digest for r in t.records} for t in (trace, other)]
    return digests[0] == digests[1]


def _diverged(name: str, dtype: str, compared: CaseComparison) -> Outcome:
    place, reason = None, compared.reason
    failing = [layer for layer in compared.layers if layer.verdict != "pass"]
    undeclared = [item for item in compared.unmatched if not item.explained]
    if failing:
        place, reason = failing[0].hook_point, failing[0].reason
    elif undeclared:
        place = undeclared[0].path
    return Outcome(
        name, dtype, compared.verdict, case=compared.name, place=place, reason=reason
    )


def _raised_in(error: Exception, trees: dict[str, str]) -> str:
    """The innermost function of the trees that the error went through."""
    roots = tuple(str(Path(tree).resolve()) for tree in trees.values())
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.name for frame in frames if frame.filename.startswith(roots)]
    return f"{inside[-1] if inside else frames[-1].name}()"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
