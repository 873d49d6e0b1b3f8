# SPDX-License-Identifier: Apache-2.0
"""Weights are proven with the transforms of activations: padding, fusing, shards."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmparity.capture.weights import PROVABLE_NUMEL, Proof, prove, prove_encoder
from mmparity.encoders import ALONE, Encoder, hook_map_of
from mmparity.trace.layout import HeadGeometry
from mmparity.workload.implementations import get
from mmparity.workload.quantized import DESCRIPTION, W8A8, quantize
from mmparity.workload.seeded import vision_config

Tensors = dict[str, torch.Tensor]
HEADS, SIZE, WIDTH, MLP = 4, 6, 10, 8
QKV, PROJ = "blocks.0.attn.qkv", "blocks.0.attn.proj"
GATE_UP, DOWN = "blocks.0.mlp.gate_up_proj", "blocks.0.mlp.down_proj"


def checkpoint() -> Tensors:
    shapes = {
        f"{QKV}.weight": (3 * HEADS * SIZE, WIDTH),
        f"{QKV}.bias": (3 * HEADS * SIZE,),
        f"{PROJ}.weight": (WIDTH, HEADS * SIZE),
        f"{PROJ}.bias": (WIDTH,),
        "blocks.0.mlp.gate_proj.weight": (MLP, WIDTH),
        "blocks.0.mlp.up_proj.weight": (MLP, WIDTH),
        f"{DOWN}.weight": (WIDTH, MLP),
        "blocks.0.norm1.weight": (WIDTH,),
        "patch_embed.proj.weight": (WIDTH, 3, 2, 2, 2),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def pad_heads(x: torch.Tensor, dim: int, padded: int) -> torch.Tensor:
    """Zeros after each half of each head, as loaders pad."""
    x = x.movedim(dim, -1)
    halves = F.pad(x.unflatten(-1, (-1, SIZE // 2)), (0, (padded - SIZE) // 2))
    return halves.flatten(-2).movedim(-1, dim)


def loaded(
    stored: Tensors, padded: int = SIZE, rank: int = 0, ranks: int = 1
) -> Tensors:
    """What one rank's layers hold, made as vLLM's loaders make it."""

    def mine(x: torch.Tensor, dim: int) -> torch.Tensor:
        return x.chunk(ranks, dim)[rank]

    found: Tensors = {}
    for kind in ("weight", "bias"):
        q, k, v = stored[f"{QKV}.{kind}"].chunk(3)
        parts = [mine(pad_heads(x, 0, padded), 0) for x in (q, k, v)]
        found[f"{QKV}.{kind}"] = torch.cat(parts)
    found[f"{PROJ}.weight"] = mine(pad_heads(stored[f"{PROJ}.weight"], 1, padded), 1)
    found[f"{PROJ}.bias"] = stored[f"{PROJ}.bias"]
    gate, up = (stored[f"blocks.0.mlp.{n}_proj.weight"] for n in ("gate", "up"))
    found[f"{GATE_UP}.weight"] = torch.cat((mine(gate, 0), mine(up, 0)))
    found[f"{DOWN}.weight"] = mine(stored[f"{DOWN}.weight"], 1)
    found["blocks.0.norm1.weight"] = stored["blocks.0.norm1.weight"]
    found["patch_embed.proj.weight"] = stored["patch_embed.proj.weight"].flatten(1)
    return found


def proof(found: Tensors, stored: Tensors, rank: int = 0, ranks: int = 1) -> Proof:
    return prove(found, stored, HeadGeometry(HEADS // ranks, SIZE), rank, ranks)


@settings(max_examples=20, deadline=None)
@given(extra=st.integers(0, 3), ranks=st.sampled_from((1, 2, 4)), data=st.data())
def test_padded_fused_and_sharded_weights_are_the_checkpoints(
    extra: int, ranks: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, ranks - 1))
    stored = checkpoint()
    found = loaded(stored, SIZE + 2 * extra, rank, ranks)
    assert proof(found, stored, rank, ranks) == Proof(len(found), {})


def test_three_projections_of_the_checkpoint_make_one() -> None:
    stored = checkpoint()
    found = loaded(stored)
    for kind in ("weight", "bias"):
        parts = stored.pop(f"{QKV}.{kind}").chunk(3)
        for name, part in zip("qkv", parts, strict=True):
            stored[f"blocks.0.attn.{name}.{kind}"] = part
    assert proof(found, stored).wrong == {}


def test_a_weight_that_its_operator_packed_elsewhere_is_neither_proven_nor_wrong() -> (
    None
):
    stored = checkpoint()
    found = loaded(stored)
    found[f"{QKV}.weight"] = torch.empty(0)
    assert proof(found, stored) == Proof(len(found) - 1, {})


def test_another_dtype_is_the_checkpoints_cast() -> None:
    stored = checkpoint()
    found = {name: x.bfloat16() for name, x in loaded(stored).items()}
    assert proof(found, stored).wrong == {}


@pytest.mark.parametrize(
    ("name", "fault", "reason"),
    [
        (f"{QKV}.weight", lambda x: x.roll(SIZE + 2, 0), "not the checkpoint's"),
        (f"{QKV}.weight", lambda x: x.roll(1, 0), "padded lanes are not zero"),
        (f"{QKV}.bias", lambda x: x + (x == 0), "padded lanes are not zero"),
        (f"{PROJ}.weight", lambda x: x.flip(1), "not zero|not the checkpoint's"),
        (f"{GATE_UP}.weight", lambda x: x.roll(MLP, 0), "not the checkpoint's"),
        (f"{DOWN}.weight", lambda x: x[:, 1:], "where the checkpoint has"),
        ("blocks.0.norm1.weight", lambda x: x + 1, "10 of 10 values"),
    ],
)
def test_one_wrong_parameter_is_named(
    name: str, fault: Callable[[torch.Tensor], torch.Tensor], reason: str
) -> None:
    stored = checkpoint()
    found = loaded(stored, SIZE + 2)
    found[name] = fault(found[name])
    result = proof(found, stored)
    assert list(result.wrong) == [name]
    assert result.proven == len(found) - 1
    assert re.search(reason, result.wrong[name])


def test_the_shard_of_another_rank_is_wrong() -> None:
    stored = checkpoint()
    wrong = proof(loaded(stored, rank=1, ranks=2), stored, rank=0, ranks=2).wrong
    assert set(wrong) == {f"{name}.weight" for name in (QKV, PROJ, GATE_UP, DOWN)} | {
        f"{QKV}.bias"
    }


def test_a_parameter_that_the_checkpoint_lacks_is_wrong() -> None:
    stored = checkpoint()
    found = loaded(stored) | {"blocks.0.extra.weight": torch.ones(3)}
    assert proof(found, stored).wrong == {
        "blocks.0.extra.weight": "the checkpoint has no blocks.0.extra.weight"
    }


def as_operator_takes_it(layer: str, stored: Tensors) -> Tensors:
    """W8A8 with padded heads, as it is after loading: weights transposed."""
    found = {}
    made = quantize(layer, stored[f"{layer}.weight"], stored[f"{layer}.bias"])
    for name, x in made.items():
        if name.endswith(".weight"):
            found[name] = pad_heads(x, int(layer == PROJ), SIZE + 2).t().contiguous()
        elif layer == QKV and x.numel() > 1:
            found[name] = pad_heads(x, 0, SIZE + 2).flatten()
        else:
            found[name] = x
    return found


def proof_of_lanes(found: Tensors, folder: Path) -> Proof:
    """That of an encoder which nobody compares with its checkpoint."""
    model = nn.Module()
    for name, value in found.items():
        *path, last = name.split(".")
        module = model
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(value, requires_grad=False))
    config = vision_config("qwen2.5-vl-7b")
    known = {"num_heads": HEADS, "head_size": SIZE}
    names = hook_map_of(get("unified"), config)
    encoder = Encoder(model, names, lambda pixels, grid: None, known)
    return prove_encoder(encoder, folder, config, ALONE)


def large_tower() -> Tensors:
    """Over the limit by one parameter that takes no memory."""
    others = torch.zeros(1).expand(int(PROVABLE_NUMEL))
    return loaded(checkpoint(), SIZE + 2) | {"merger.mlp.2.weight": others}


def quantised_tower(folder: Path) -> Tensors:
    (folder / DESCRIPTION).write_text(f'{{"visual.{QKV}.weight": "{W8A8}"}}')
    stored = checkpoint()
    return as_operator_takes_it(QKV, stored) | as_operator_takes_it(PROJ, stored)


def last_lane(name: str, x: torch.Tensor) -> torch.Tensor:
    """A padded lane of a parameter, to be written to."""
    rows = x.t() if x.dtype == torch.int8 else x
    return rows[..., -1] if name.startswith(PROJ) else rows[-1]


KINDS = ("weight", "weight_scale", "weight_offset", "quant_bias", "deq_scale")


def test_padded_lanes_of_towers_that_are_not_compared_are_proven(
    tmp_path: Path,
) -> None:
    assert proof_of_lanes(large_tower(), tmp_path) == Proof(None, {})
    assert proof_of_lanes(quantised_tower(tmp_path), tmp_path) == Proof(None, {})


@pytest.mark.parametrize("name", [f"{QKV}.weight", f"{QKV}.bias", f"{PROJ}.weight"])
def test_a_lane_that_is_not_zero_in_a_large_tower_is_named(
    name: str, tmp_path: Path
) -> None:
    found = large_tower()
    last_lane(name, found[name]).fill_(1e-30)
    result = proof_of_lanes(found, tmp_path)
    assert list(result.wrong) == [name]
    assert "padded lanes are not zero" in result.wrong[name]


@pytest.mark.parametrize("name", [*(f"{QKV}.{k}" for k in KINDS), f"{PROJ}.weight"])
def test_a_lane_that_is_not_zero_in_a_quantised_tower_is_named(
    name: str, tmp_path: Path
) -> None:
    found = quantised_tower(tmp_path)
    last_lane(name, found[name]).fill_(1)
    result = proof_of_lanes(found, tmp_path)
    assert list(result.wrong) == [name]
    assert "padded lanes are not zero" in result.wrong[name]
