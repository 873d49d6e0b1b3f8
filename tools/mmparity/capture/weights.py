# SPDX-License-Identifier: Apache-2.0
"""Whether an encoder holds the checkpoint's weights, in its own layout.

The transforms that bring activations to their canonical layout are applied to the
weights of the layers that make or take them: what is padded, fused or sharded must
be the checkpoint's numbers, bit for bit, and padded lanes exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmparity.capture.shards import shard
from mmparity.encoders import Encoder, Ranks
from mmparity.trace import hook_points
from mmparity.trace.hook_points import HookPoint, pattern_of
from mmparity.trace.layout import HeadGeometry, LayoutError, execute, plan
from mmparity.workload import checkpoint
from mmparity.workload.quantized import PER_OUTPUT
from mmparity.workload.towers import tower_of

PROVABLE_NUMEL = 4e8
"""Weights of up to so many numbers are compared with the checkpoint's."""
BLOCK = "blocks.{i}"
_HEADS = ("split_heads", "unpad_halves")
_SHARDED = HookPoint("", "float", "[D, m]", "shared by its inputs", 1)
_SHARDED_HEADS = HookPoint("", "float", "[D, h, d]", "shared by its inputs", 1)


@dataclass(frozen=True)
class Layer:
    """A linear layer whose weights need more than a comparison.

    Attributes:
        sources: its layers in the checkpoint, side by side in its outputs.
        outputs: the layout of its outputs; the weight transposed has it too.
        inputs: the layout of its inputs; the weight has it as it is.
        point: by whose rule ranks share it.
        by_inputs: the ranks share its inputs, and its bias whole.
    """

    sources: tuple[str, ...]
    point: HookPoint
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    by_inputs: bool = False


def _column(name: str, *sources: str, outputs: tuple[str, ...] = ()) -> Layer:
    point = hook_points.get(name.replace("{i}", "0"))
    return Layer(sources or (name,), point, outputs)


LAYERS: dict[str, Layer] = {
    f"{BLOCK}.attn.qkv": _column(
        f"{BLOCK}.attn.qkv", outputs=("split_qkv", "unpad_halves")
    ),
    f"{BLOCK}.attn.proj": Layer(
        (f"{BLOCK}.attn.proj",), _SHARDED_HEADS, inputs=_HEADS, by_inputs=True
    ),
    f"{BLOCK}.mlp.gate_up_proj": _column(
        f"{BLOCK}.mlp.gate_up_proj",
        f"{BLOCK}.mlp.gate_proj",
        f"{BLOCK}.mlp.up_proj",
    ),
    **{
        name: _column(name)
        for name in (
            f"{BLOCK}.mlp.fc1",
            f"{BLOCK}.mlp.linear_fc1",
            "merger.mlp.0",
            "merger.linear_fc1",
            "deepstack_merger_list.{i}.linear_fc1",
        )
    },
    **{
        name: Layer((name,), _SHARDED, by_inputs=True)
        for name in (
            f"{BLOCK}.mlp.down_proj",
            f"{BLOCK}.mlp.fc2",
            f"{BLOCK}.mlp.linear_fc2",
            "merger.mlp.2",
            "merger.linear_fc2",
            "deepstack_merger_list.{i}.linear_fc2",
        )
    },
}
THREE = tuple(f"{BLOCK}.attn.{name}" for name in "qkv")
"""Qwen2.5-Omni's checkpoint has three projections for one."""


@dataclass(frozen=True)
class Proof:
    """How many parameters are the checkpoint's, and what is wrong with others.

    ``proven`` is None where padded lanes alone were looked at.
    """

    proven: int | None
    wrong: dict[str, str]


def prove_encoder(
    encoder: Encoder, directory: Path, config: Any, ranks: Ranks
) -> Proof:
    """The proof of an encoder's weights, or of their padded lanes alone.

    Quantised ones are laid out anew by their operator, and to read a whole tower
    again takes longer than a case; lanes are few, and need no checkpoint.
    """
    parameters = {
        encoder.hook_map.stored_name(name): parameter
        for name, parameter in encoder.model.named_parameters()
    }
    numel = sum(parameter.numel() for parameter in parameters.values())
    known = encoder.hyper_parameters
    geometry = HeadGeometry(known["num_heads"] // ranks.shards, known["head_size"])
    if numel > PROVABLE_NUMEL or checkpoint.quantization_of(directory, config):
        return prove_lanes(parameters, geometry)
    stored = dict(checkpoint.vision_weights(directory, config))
    tower = tower_of(config)
    if tower is not None:
        stored |= _fused(parameters, stored, tower.fused)
    return prove(parameters, stored, geometry, ranks.shard, ranks.shards)


def _fused(
    parameters: Iterable[str],
    stored: Mapping[str, torch.Tensor],
    fused: Mapping[str, Sequence[str]],
) -> dict[str, torch.Tensor]:
    """Parameters that layers of a checkpoint lie side by side in, as described."""
    found = {}
    for name in parameters:
        layer, _, kind = name.rpartition(".")
        parent, dot, last = layer.rpartition(".")
        parts = [f"{parent}{dot}{source}.{kind}" for source in fused.get(last, ())]
        if parts and all(part in stored for part in parts):
            found[name] = torch.cat([stored[part] for part in parts])
    return found


def prove(
    parameters: Mapping[str, torch.Tensor],
    stored: Mapping[str, torch.Tensor],
    geometry: HeadGeometry,
    rank: int = 0,
    ranks: int = 1,
) -> Proof:
    """Compares loaded parameters with a checkpoint's tensors, both by name.

    ``geometry`` is that of one rank. A parameter that its operator has emptied, for
    it keeps the numbers packed elsewhere, is neither proven nor wrong: vLLM's CPU
    kernels do so. What is computed with it is compared.
    """
    parameters = {name: one for name, one in parameters.items() if one.numel()}

    def check(name: str, loaded: torch.Tensor) -> None:
        _check(name, loaded, stored, geometry, (rank, ranks))

    wrong = _wrong(parameters, check)
    return Proof(len(parameters) - len(wrong), wrong)


def prove_lanes(
    parameters: Mapping[str, torch.Tensor], geometry: HeadGeometry
) -> Proof:
    """Whether the padded lanes of loaded parameters, quantised ones too, are zero.

    ``geometry`` is that of one rank.
    """

    def check(name: str, loaded: torch.Tensor) -> None:
        module, _, kind = name.rpartition(".")
        layer = LAYERS.get(pattern_of(module))
        if layer is None or kind not in PER_OUTPUT:
            return
        if kind == "weight" and loaded.dtype == torch.int8:
            loaded = loaded.t()  # as W8A8's operator takes it
        if not layer.by_inputs:
            _canonical(_outputs_last(loaded), layer.outputs, geometry)
        elif kind == "weight":
            _canonical(loaded, layer.inputs, geometry)

    return Proof(None, _wrong(parameters, check))


def _wrong(
    parameters: Mapping[str, torch.Tensor], check: Callable[[str, torch.Tensor], None]
) -> dict[str, str]:
    """Name of each parameter that ``check`` refuses -> why."""
    wrong = {}
    for name, loaded in parameters.items():
        try:
            check(name, loaded.detach())
        except (LayoutError, KeyError, RuntimeError) as error:
            wrong[name] = str(error).split("\n", 1)[0]
    return wrong


def _check(
    name: str,
    loaded: torch.Tensor,
    stored: Mapping[str, torch.Tensor],
    geometry: HeadGeometry,
    place: tuple[int, int],
) -> None:
    module, _, kind = name.rpartition(".")
    layer = LAYERS.get(pattern_of(module))
    exact = _from_checkpoint(name, layer, stored).to(loaded.device, loaded.dtype)
    if layer is None:
        _equal(loaded.reshape(-1), exact.reshape(-1))
        return
    whole = HeadGeometry(geometry.num_heads * place[1], geometry.head_size)
    if layer.by_inputs:
        if kind != "weight":
            _equal(loaded, exact)
            return
        expected = _canonical(exact, layer.inputs, whole)
        got = _canonical(loaded, layer.inputs, geometry)
    else:
        expected = _canonical(_outputs_last(exact), layer.outputs, whole)
        got = _canonical(_outputs_last(loaded), layer.outputs, geometry)
    _equal(got, shard(expected, layer.point, *place))


def _from_checkpoint(
    name: str, layer: Layer | None, stored: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    module, _, kind = name.rpartition(".")
    if name in stored:
        return stored[name]
    number = str(hook_points.number_of(module))
    sources = layer.sources if layer else ()
    if pattern_of(module) == f"{BLOCK}.attn.qkv":
        sources = THREE
    parts = [f"{source.replace('{i}', number)}.{kind}" for source in sources]
    missing = [part for part in parts if part not in stored]
    if not parts or missing:
        raise LayoutError(f"the checkpoint has no {(missing or [name])[0]}")
    return torch.cat([stored[part] for part in parts])


def _outputs_last(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter, [outputs] or [outputs, inputs], laid out as its layer's outputs."""
    return parameter.t() if parameter.dim() > 1 else parameter[None]


def _canonical(
    tensor: torch.Tensor, names: Iterable[str], geometry: HeadGeometry
) -> torch.Tensor:
    return execute(tensor, plan(tuple(names), tuple(tensor.shape), geometry))


def _equal(got: torch.Tensor, exact: torch.Tensor) -> None:
    if got.shape != exact.shape:
        raise LayoutError(
            f"it has {list(got.shape)} where the checkpoint has {list(exact.shape)}"
        )
    if not torch.equal(got, exact):
        wrong = int((got != exact).sum())
        raise LayoutError(f"{wrong} of {exact.numel()} values are not the checkpoint's")
