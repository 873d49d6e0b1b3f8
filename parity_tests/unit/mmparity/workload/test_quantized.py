# SPDX-License-Identifier: Apache-2.0
"""W8A8 checkpoints: what is in them, and that it means the layer it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmparity.encoders.npu_emulation import operators
from mmparity.errors import MmparityError
from mmparity.workload import quantized
from mmparity.workload.checkpoint import quantization_of, vision_weights, weights_digest
from mmparity.workload.models import MODELS, Model
from mmparity.workload.quantized import DESCRIPTION, ExactLinear, is_quantized, quantize
from mmparity.workload.seeded import write_seeded_checkpoint
from mmparity.workload.tower_config import read_vision_config, with_depth

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


def layers_of(folder: Path, depth: int | None = None) -> frozenset[str]:
    found = quantization_of(folder, with_depth(read_vision_config(folder), depth))
    assert found is not None
    return found.layers


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
    layers = layers_of(tiny)
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
    assert len(layers_of(tiny, 2)) == 2 * 5
    assert weights_digest(tiny, config) != weights_digest(
        tiny, read_vision_config(tiny)
    )


def _describe(folder: Path, **changes: object) -> None:
    file = folder / DESCRIPTION
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


QKV = "visual.blocks.0.attn.qkv.weight"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({QKV: "W4A8_DYNAMIC"}, "is W4A8_DYNAMIC; only W8A8"),
        ({QKV: 8}, "is 8; only W8A8"),
        ({QKV: ["W8A8"]}, "only W8A8"),
        ({f"model.{QKV}": "FLOAT"}, "has blocks.0.attn.qkv twice"),
        ({"visual.blocks.0.attn.gate.weight": "W8A8"}, "no linear layer of that name"),
        ({"visual.blocks.0.norm1.weight": "W8A8"}, "no linear layer of that name"),
        ({"visual.merger.mlp.0.weight": "W8A8"}, "no tensor 'merger.mlp.0.weight_sc"),
        ({QKV: None}, "qkv.weight' is int8.*does not say that blocks.0.attn.qkv is q"),
        ({QKV: "FLOAT"}, "no parameter 'blocks.0.attn.qkv.|qkv.weight' is int8"),
    ],
)
def test_a_description_that_cannot_be_right_is_refused(
    tiny: Path, changes: dict[str, object], reason: str
) -> None:
    _describe(tiny, **changes)
    if changes.get(QKV, 0) is None:  # the weight alone, as 8-bit formats have it
        _drop_parameters(tiny, QKV.removesuffix(".weight"))
    with pytest.raises(MmparityError, match=reason):
        dict(vision_weights(tiny, read_vision_config(tiny)))


def _drop_parameters(folder: Path, layer: str) -> None:
    """Leaves a quantised layer its weight and a bias."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name in [n for n in tensors if n.startswith(f"{layer}.")]:
            if name not in (f"{layer}.weight", f"{layer}.bias"):
                del tensors[name]
        save_file(tensors, file)
    index = folder / "model.safetensors.index.json"
    index.unlink()


@pytest.mark.parametrize("text", ["[]", "{", '"W8A8"', "[" * 100_000, "1" * 5000])
def test_a_description_that_is_none_is_refused(tiny: Path, text: str) -> None:
    (tiny / DESCRIPTION).write_text(text)
    with pytest.raises(MmparityError, match="cannot be read"):
        quantized.read(tiny, ("visual.",))


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("weight", torch.zeros(96, 32), "is float32; expected int8"),
        ("weight", torch.zeros(96, 32, dtype=torch.uint8), "is uint8; expected int8"),
        ("weight_scale", torch.ones(96, 1, dtype=torch.int8), "is int8; expected b"),
        ("quant_bias", torch.ones(96), "is float32; expected int32"),
        ("deq_scale", torch.ones(96, dtype=torch.int64), "is int64; expected float32"),
    ],
)
def test_parameters_are_of_the_kind_that_they_are_read_as(
    tiny: Path, name: str, values: torch.Tensor, reason: str
) -> None:
    for file in tiny.glob("*.safetensors"):
        tensors = load_file(file)
        key = f"visual.blocks.0.attn.qkv.{name}"
        if key in tensors:
            save_file({**tensors, key: values}, file)
    with pytest.raises(MmparityError, match=reason):
        dict(vision_weights(tiny, read_vision_config(tiny)))


def test_names_are_vllms_or_those_asked_for_and_the_weights_the_same(
    tiny: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_seeded_checkpoint(other, "tiny", quantized=True, prefix="model.visual.")
    described = [json.loads((f / DESCRIPTION).read_text()) for f in (tiny, other)]
    assert all(name.startswith("visual.") for name in described[0])
    assert described[1] == {
        f"model.{name}": kind for name, kind in described[0].items()
    }
    for file in other.glob("*.safetensors"):
        assert all(name.startswith("model.visual.") for name in load_file(file))
    config = read_vision_config(tiny)
    assert weights_digest(tiny, config) == weights_digest(other, config)
    assert layers_of(tiny) == layers_of(other)


def test_a_description_is_handed_on_as_the_checkpoint_has_it(tiny: Path) -> None:
    _describe(tiny, model_quant_type="W8A8", metadata={"by": "a tool"})
    found = quantization_of(tiny, with_depth(read_vision_config(tiny), 2))
    assert found is not None
    assert found.description == json.loads((tiny / DESCRIPTION).read_text())
