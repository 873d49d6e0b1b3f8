# SPDX-License-Identifier: Apache-2.0
"""The traces of a trial: an encoder from an edited tree, and what it computes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness_checks.mutants.trial import RESULT, Trial
from mmparity import encoders
from mmparity.capture.forwards import run_before
from mmparity.capture.graft import Graft
from mmparity.capture.images import observed
from mmparity.capture.recorder import capturing
from mmparity.capture.worker import DTYPES
from mmparity.encoders import tower_modules
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
from mmparity.workload import checkpoint
from mmparity.workload.inputs import read_inputs


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
        tower_modules.load(model, weights)
    return encoder


def captures(
    trial: Trial,
    runtime: encoders.Runtime,
    folder_of: Callable[[str], Path],
    graft: bool = False,
) -> Iterator[tuple[str, Exception | None]]:
    """Captures case after case with one encoder, after a second load of weights."""
    job, load = trial.job, trial.workload
    encoder = built(trial, runtime)
    for case, inputs in job.inputs[load.data].items():
        old = trial.old(case)
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
        watched, sink = observed(encoder, writer, encoders.ALONE)
        try:
            before = run_before(encoder, inputs) if donor is None else ""
            with donor or nullcontext(), capturing(watched, meta.depth, sink, donor):
                watched.forward(inputs.pixel_values, torch.tensor(inputs.grid_thw))
        except Exception as error:
            traceback.print_exc()
            return error
        if before:  # and the recorded one did not
            return RuntimeError(before)
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
