# SPDX-License-Identifier: Apache-2.0
"""W8A8 as vllm-ascend reads it: which tensors there are, and what they mean.

Weights are int8 with a scale for each output channel; activations become int8 by
one static scale. The bias is folded into ``quant_bias``. Only values are made and
read here; the arithmetic of a run is each implementation's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmparity.errors import MmparityError
from mmparity.stored_json import read_json
from mmparity.workload.checkpoint_files import DESCRIPTION as DESCRIPTION

W8A8, FLOAT = "W8A8", "FLOAT"
LAYERS = ("attn.qkv", "attn.q", "attn.k", "attn.v", "attn.proj", "mlp")
"""What is quantised of a block; the merger and the patches stay as they are."""
INPUT_SCALES = {"attn.proj": 2.0**-4}
INPUT_SCALE = 2.0**-3
"""Powers of two: 1 / scale is exact in every dtype, so that what is compared is
layout and loading and not one more rounding."""
INPUT_OFFSET = 3
"""Not 0: a padded lane of an activation becomes 3, which its weight must undo."""
FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
DTYPES = {
    "weight": (torch.int8,),
    "quant_bias": (torch.int32,),
    "deq_scale": (torch.float32,),
    "input_offset": (torch.int8, *FLOATS),
}
"""Of a quantised layer's parameters; the others are floats."""
PER_OUTPUT = frozenset(
    ("weight", "bias", "weight_scale", "weight_offset", "quant_bias", "deq_scale")
)
"""A linear layer's parameters that have an entry, or a row, for each output."""
Shape = tuple[int, ...]


def is_quantized(layer: str) -> bool:
    """Whether a layer, by its name in the tower, is quantised in these checkpoints."""
    group, _, rest = layer.partition(".")
    name = rest.partition(".")[2]
    return group == "blocks" and name.startswith(LAYERS)


@dataclass(frozen=True)
class Quantized:
    """What a checkpoint says of its quantised layers.

    Attributes:
        layers: names of the tower's, without the prefix.
        description: the whole file, with its own names: what vllm-ascend is given.
    """

    layers: frozenset[str]
    description: dict[str, object]

    def without(self, left_out: Callable[[str], bool]) -> Quantized:
        """The same of a tower that lacks some layers."""
        kept = frozenset(layer for layer in self.layers if not left_out(layer))
        return replace(self, layers=kept)


def read(directory: Path, prefixes: Iterable[str]) -> Quantized | None:
    """What a checkpoint says; None where none of the tower's layers is quantised."""
    file = Path(directory) / DESCRIPTION
    if not file.exists():
        return None
    description = read_json(file)
    if not isinstance(description, dict):
        raise MmparityError(f"{file} cannot be read: it is no object of names.")
    prefixes = tuple(prefixes)
    named: dict[str, str] = {}
    layers = set()
    for name, kind in description.items():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        if prefix is None or not name.endswith(".weight"):
            continue
        layer = name.removeprefix(prefix).removesuffix(".weight")
        if layer in named:
            raise MmparityError(f"{file} has {layer} twice: {named[layer]} and {name}.")
        named[layer] = name
        if kind not in (W8A8, FLOAT):
            raise MmparityError(
                f"{file}: {name} is {str(kind)[:40]}; only {W8A8} is known."
            )
        if kind == W8A8:
            layers.add(layer)
    return Quantized(frozenset(layers), description) if layers else None


def check_layers(
    found: Quantized, shapes: Mapping[str, Shape], directory: Path
) -> None:
    """Refuses a description of layers that the tower does not have, or not as such."""
    for layer in sorted(found.layers):
        if len(shapes.get(f"{layer}.weight", ())) != 2:
            raise MmparityError(
                f"{Path(directory) / DESCRIPTION}: {layer} is {W8A8}, but the tower "
                "has no linear layer of that name."
            )


def with_parameters(
    shapes: dict[str, Shape], layers: Iterable[str]
) -> dict[str, Shape]:
    """The shapes of a tower whose ``layers`` are quantised."""
    shapes = dict(shapes)
    for layer in sorted(layers):
        outputs = shapes[f"{layer}.weight"][0]
        shapes |= {
            f"{layer}.weight_scale": (outputs, 1),
            f"{layer}.weight_offset": (outputs, 1),
            f"{layer}.quant_bias": (outputs,),
            f"{layer}.deq_scale": (outputs,),
            f"{layer}.input_scale": (1,),
            f"{layer}.input_offset": (1,),
        }
    return shapes


def quantize(
    layer: str, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The W8A8 parameters of a linear layer, symmetric for each output channel."""
    known = (scale for name, scale in INPUT_SCALES.items() if layer.endswith(name))
    input_scale = next(known, INPUT_SCALE)
    wide = weight.double()
    scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-6) / 127
    scale = scale.to(torch.bfloat16)
    integers = (wide / scale.double()).round().clamp(-128, 127).to(torch.int8)
    deq_scale = input_scale * scale.float().flatten()
    folded = (bias.double() / deq_scale.double()).round()
    folded -= INPUT_OFFSET * integers.double().sum(dim=1)
    return {
        f"{layer}.weight": integers,
        f"{layer}.weight_scale": scale,
        f"{layer}.weight_offset": torch.zeros_like(scale),
        f"{layer}.quant_bias": folded.to(torch.int32),
        f"{layer}.deq_scale": deq_scale,
        f"{layer}.input_scale": torch.tensor([input_scale], dtype=torch.bfloat16),
        f"{layer}.input_offset": torch.tensor([INPUT_OFFSET], dtype=torch.int8),
    }


class ExactLinear(torch.nn.Module):
    """The oracle's W8A8 layer: what the parameters mean, in float64."""

    weight: torch.Tensor
    quant_bias: torch.Tensor
    deq_scale: torch.Tensor
    input_scale: torch.Tensor
    input_offset: torch.Tensor

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        shapes: dict[str, Shape] = {"bias": (outputs,)}
        for name, shape in with_parameters(
            {".weight": (outputs, inputs)}, [""]
        ).items():
            shapes[name.removeprefix(".")] = shape
        for name, shape in shapes.items():
            self.register_buffer(name, torch.empty(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quantises, multiplies, adds the folded bias and scales back."""
        scaled = x / self.input_scale.double() + self.input_offset.double()
        integers = scaled.round().clamp(-128, 127)
        total = integers @ self.weight.double().T + self.quant_bias.double()
        return total * self.deq_scale.double()
