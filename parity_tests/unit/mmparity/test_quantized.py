# SPDX-License-Identifier: Apache-2.0
"""W8A8 checkpoints: what is in them, and that it means the layer it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmparity import quantized
from mmparity.checkpoint import (
    quantized_layers,
    read_vision_config,
    vision_weights,
    weights_digest,
    with_depth,
)
from mmparity.models import MODELS, Model
from mmparity.npu_emulation import operators
from mmparity.quantized import DESCRIPTION, ExactLinear, is_quantized, quantize
from mmparity.seeded import write_seeded_checkpoint
from mmparity.types import MmparityError

TINY = {
    "depth": 3,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "out_hidden_size": 24,
    "fullatt_block_indexes": [1],
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(MODELS, "tiny", Model("tiny", "qwen2_5_vl", TINY, "made up"))
    write_seeded_checkpoint(tmp_path / "tiny", "tiny", quantized=True)
    return tmp_path / "tiny"


def layer(outputs: int = 24, inputs: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
    return weight, torch.randn(outputs, generator=generator)


def exact(parameters: dict[str, torch.Tensor], name: str) -> ExactLinear:
    linear = ExactLinear(*parameters[f"{name}.weight"].shape)
    values = {key.removeprefix(f"{name}."): v for key, v in parameters.items()}
    linear.load_state_dict({**values, "bias": torch.zeros(24)}, assign=True)
    return linear


def test_quantised_layer_is_near_the_layer_it_was_made_of() -> None:
    weight, bias = layer()
    linear = exact(quantize("attn.qkv", weight, bias), "attn.qkv")
    x = torch.randn(50, 32, dtype=torch.float64)
    expected = x @ weight.double().T + bias.double()
    error = (linear(x) - expected).norm() / expected.norm()
    assert 1e-3 < error < 0.05


def test_oracle_and_emulated_operators_mean_the_same_parameters() -> None:
    weight, bias = layer()
    parameters = quantize("x", weight, bias)
    x = torch.randn(50, 32).to(torch.bfloat16)
    scale = 1 / parameters["x.input_scale"].repeat(32)
    offset = parameters["x.input_offset"].repeat(32).to(torch.bfloat16)
    integers = operators.npu_quantize(x, scale, offset, torch.qint8, -1, False)
    got = operators.npu_quant_matmul(
        integers,
        parameters["x.weight"].T,
        parameters["x.deq_scale"],
        bias=parameters["x.quant_bias"],
        output_dtype=torch.bfloat16,
    )
    wanted = exact(parameters, "x")(x.double())
    assert torch.equal(got, wanted.to(torch.float32).to(torch.bfloat16))


def test_blocks_are_quantised_and_nothing_else(tiny: Path) -> None:
    config = read_vision_config(tiny)
    layers = quantized_layers(tiny, config)
    assert len(layers) == 3 * 5
    assert all(is_quantized(name) for name in layers)
    assert not is_quantized("merger.mlp.0") and not is_quantized("blocks.0.norm1")
    tensors = dict(vision_weights(tiny, config))
    assert tensors["blocks.0.attn.qkv.weight"].dtype == torch.int8
    assert tensors["blocks.0.attn.qkv.deq_scale"].dtype == torch.float32
    assert tensors["blocks.0.attn.proj.weight_scale"].shape == (32, 1)
    assert tensors["merger.mlp.0.weight"].dtype == torch.bfloat16
    assert tensors["blocks.0.mlp.gate_proj.input_scale"].equal(
        tensors["blocks.0.mlp.up_proj.input_scale"]
    ), "vLLM merges the two"


def test_a_cut_encoder_leaves_out_the_layers_of_later_blocks(tiny: Path) -> None:
    config = with_depth(read_vision_config(tiny), 2)
    assert len(quantized_layers(tiny, config)) == 2 * 5
    assert weights_digest(tiny, config) != weights_digest(
        tiny, read_vision_config(tiny)
    )


def test_other_kinds_of_quantisation_are_refused(tiny: Path) -> None:
    file = tiny / DESCRIPTION
    content = json.loads(file.read_text())
    content["visual.blocks.0.attn.qkv.weight"] = "W4A8_DYNAMIC"
    file.write_text(json.dumps(content))
    with pytest.raises(MmparityError, match="is W4A8_DYNAMIC; only W8A8"):
        quantized_layers(tiny, read_vision_config(tiny))
    file.write_text("[]")
    with pytest.raises(MmparityError, match="cannot be read"):
        quantized.layers_in(tiny, ("visual.",))
