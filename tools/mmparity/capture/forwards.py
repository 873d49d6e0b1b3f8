# SPDX-License-Identifier: Apache-2.0
"""The forwards of a capture: before the recorded one, itself, and where one raises."""

from __future__ import annotations

import time
import traceback

import torch

from mmparity.encoders import Encoder
from mmparity.encoders.anatomy import ROOT
from mmparity.errors import MmparityError
from mmparity.workload.inputs import Inputs

MEMORY = (MemoryError, torch.OutOfMemoryError)
NOT_THE_ENCODERS = (MmparityError, OSError, *MEMORY)
"""Errors that say nothing about what an encoder computes."""


def seconds_of(encoder: Encoder, inputs: Inputs, device: str) -> float:
    """Runs one forward and returns its wall time."""
    grid = torch.tensor(inputs.grid_thw)
    started = time.perf_counter()
    with torch.inference_mode():
        encoder.forward(inputs.pixel_values, grid)
    if device != "cpu":
        getattr(torch, device).synchronize()
    return time.perf_counter() - started


def run_before(encoder: Encoder, inputs: Inputs) -> str:
    """Runs a forward of other pixels on the same grids, for what it may leave behind.

    What is cached by the grid and changed in place is right once and wrong after.
    Returns what it raised, or nothing.
    """
    try:
        with torch.inference_mode():
            grid = torch.tensor(inputs.grid_thw)
            encoder.forward(inputs.pixel_values.flip(0), grid)
    except Exception as error:
        if is_of_memory(error) or isinstance(error, NOT_THE_ENCODERS):
            raise
        return f"the forward before it raised {_short(error)}"
    return ""


def raised(error: Exception, place: str) -> str:
    """What the encoder raised, and in which module; writes the traceback to the log.

    Raises the error again where it is not the encoder's.
    """
    if is_of_memory(error) or isinstance(error, NOT_THE_ENCODERS):
        raise error
    traceback.print_exception(error)
    return f"{place or ROOT} raised {_short(error)}"


def is_of_memory(error: Exception) -> bool:
    """Whether there was not enough memory."""
    return isinstance(error, MEMORY) or "can't allocate memory" in str(error)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
