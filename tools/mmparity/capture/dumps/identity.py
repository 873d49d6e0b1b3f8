# SPDX-License-Identifier: Apache-2.0
"""What a dump can be shown to be a forward of, and what a verdict says if it cannot.

A dump carries pixels, and of most tools parameters, but no digests. With the checkpoint
and the inputs at hand both are compared with what is in the dump; what is neither
shown nor assumed keeps a case from passing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmparity.capture.dumps.dump import Dump, DumpedCall
from mmparity.errors import MmparityError
from mmparity.types.trace import UNKNOWN
from mmparity.workload import checkpoint
from mmparity.workload.inputs import Inputs, pixels_digest

PIXELS = ("patch_embed.proj", "patch_embed")
"""Modules whose input is the pixels; Ascend's projection is no module call."""


def weights_of(
    dump: Dump, calls: dict[str, DumpedCall], directory: Path | None, config: Any
) -> str:
    """The digest of the checkpoint, if the dump's parameters are its tensors.

    Parameters of other names or shapes (fused, padded) cannot be compared; at least
    one in every block must be.
    """
    if directory is None:
        return UNKNOWN
    shown: set[str] = set()
    for name, stored in checkpoint.vision_weights(directory, config):
        path, _, parameter = name.rpartition(".")
        entry = calls[path].parameters.get(parameter) if path in calls else None
        tensor = dump.tensor(entry)
        if tensor is None or tensor.shape != stored.shape:
            continue
        if not torch.equal(tensor, stored.to(tensor.dtype)):
            raise MmparityError(
                f"{dump.file}: {name} is not what {directory} has: the dump was made "
                "with other weights, or its parameters were changed while loading."
            )
        shown.add(".".join(name.split(".")[:2]))
    if {f"blocks.{number}" for number in range(config.depth)} <= shown:
        return checkpoint.weights_digest(directory, config)
    return UNKNOWN


def pixels_of(dump: Dump, calls: dict[str, DumpedCall], inputs: Inputs | None) -> str:
    """The digest of the pixels; in float32 they tell it themselves."""
    given_to = [calls[path] for path in PIXELS if path in calls]
    entry = given_to[0].inputs[0] if given_to and given_to[0].inputs else None
    tensor = dump.tensor(entry)
    if tensor is None or tensor.dim() < 2:
        return UNKNOWN
    pixels = tensor.flatten(1)
    if inputs is not None:
        given = inputs.pixel_values
        if pixels.shape != given.shape or not torch.equal(
            pixels, given.to(pixels.dtype)
        ):
            raise MmparityError(
                f"{dump.file}: the pixels that {given_to[0].path} was given are not "
                "those of --inputs."
            )
        return inputs.pixels_digest
    return pixels_digest(pixels) if pixels.dtype == torch.float32 else UNKNOWN
