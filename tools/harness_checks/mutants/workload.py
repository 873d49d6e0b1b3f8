# SPDX-License-Identifier: Apache-2.0
"""What mutants run on: narrow encoders of the real shape of head, a few grids.

Heads of 80 lanes, one window, one full and one more window block; width does
not matter to any of the bugs, and a narrow encoder runs in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mmparity.project import known
from mmparity.workload.cases import Case, Noise
from mmparity.workload.checkpoint import expected_shapes
from mmparity.workload.inputs import Geometry, write_inputs
from mmparity.workload.quantized import DESCRIPTION, FLOAT, W8A8, is_quantized, quantize

_WIDTHS = {
    "depth": 3,
    "hidden_size": 160,
    "num_heads": 2,
    "intermediate_size": 428,
    "out_hidden_size": 256,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
QWEN2_5 = {
    **_WIDTHS,
    "fullatt_block_indexes": [1],
    "window_size": 112,
    "patch_size": 14,
}
QWEN3 = {
    **_WIDTHS,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [0, 1],
}
CASES = (
    Case("ragged", "windows cut at two edges", (Noise((1, 10, 14), 1),)),
    Case(
        "packed",
        "two equal windows, a clip, another orientation",
        (Noise((1, 8, 16), 2), Noise((2, 10, 14), 3), Noise((1, 14, 10), 4)),
    ),
)


@dataclass(frozen=True)
class Workload:
    """An encoder and how it is run.

    Attributes:
        vision: its vision configuration, of the model type ``family``.
        quantized: its checkpoint is W8A8.
        ranks: it is spread over so many processes.
        data_parallel: each of them takes some of the images, instead of a shard.
    """

    name: str
    vision: dict[str, Any]
    family: str = "qwen2_5_vl"
    quantized: bool = False
    ranks: int = 1
    data_parallel: bool = False

    @property
    def data(self) -> str:
        """The workload whose checkpoint, pixels and references it uses."""
        return "float" if self.ranks > 1 else self.name


WORKLOADS = {
    item.name: item
    for item in (
        Workload("float", QWEN2_5),
        # Rounding to integers adds noise with each block: one is enough.
        Workload(
            "w8a8",
            {**QWEN2_5, "depth": 1, "fullatt_block_indexes": [0]},
            quantized=True,
        ),
        Workload("qwen3", QWEN3, "qwen3_vl"),
        Workload("tp2", QWEN2_5, ranks=2),
        Workload("dp2", QWEN2_5, ranks=2, data_parallel=True),
    )
}


def get(name: str) -> Workload:
    """The workload of that name."""
    return known("workload", name, WORKLOADS)


def write_checkpoint(directory: Path, workload: Workload) -> Path:
    """Seeded weights; biases and norms are away from 0 and 1."""
    config = _config(workload)
    directory.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(directory)
    shapes = expected_shapes(config.vision_config)
    tensors = {name: _values(name, shape) for name, shape in shapes.items()}
    if workload.quantized:
        description = {}
        for name in [name for name in tensors if name.endswith(".weight")]:
            layer = name.removesuffix(".weight")
            chosen = is_quantized(layer)
            description[f"visual.{name}"] = W8A8 if chosen else FLOAT
            if chosen:
                tensors |= quantize(layer, tensors[name], tensors[f"{layer}.bias"])
        (directory / DESCRIPTION).write_text(json.dumps(description))
    stored = {f"visual.{name}": tensor for name, tensor in tensors.items()}
    save_file(stored, directory / "model.safetensors", {"format": "pt"})
    return directory


def write_cases(directory: Path, workload: Workload) -> dict[str, Path]:
    """The pixels of each case."""
    geometry = Geometry.of(_config(workload).vision_config)
    return {case.name: write_inputs(case, directory, geometry) for case in CASES}


def _config(workload: Workload) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING[workload.family](vision_config=workload.vision)


def _values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    key = hashlib.sha256(name.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        values *= torch.Size(shape[1:]).numel() ** -0.5
    else:
        values = values * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    return values.to(torch.bfloat16)
