# SPDX-License-Identifier: Apache-2.0
"""What mutants run on: a narrow encoder of the real shape of head, three grids.

Heads of 80 lanes, one window, one full and one more window block; width does
not matter to any of the bugs, and a narrow encoder runs in a tenth of a second.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmparity.cases import Case, Noise
from mmparity.checkpoint import expected_shapes
from mmparity.inputs import write_inputs

VISION = {
    "depth": 3,
    "hidden_size": 160,
    "num_heads": 2,
    "intermediate_size": 428,
    "out_hidden_size": 256,
    "fullatt_block_indexes": [1],
    "window_size": 112,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
CASES = (
    Case("ragged", "windows cut at two edges", (Noise((1, 10, 14), 1),)),
    Case(
        "packed",
        "two equal windows, a clip, another orientation",
        (Noise((1, 8, 16), 2), Noise((2, 10, 14), 3), Noise((1, 14, 10), 4)),
    ),
)


def write_checkpoint(directory: Path) -> Path:
    """Seeded weights; biases and norms are away from 0 and 1."""
    from transformers import Qwen2_5_VLConfig

    config = Qwen2_5_VLConfig(vision_config=VISION)
    directory.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(directory)
    shapes = expected_shapes(config.vision_config)
    tensors = {f"visual.{name}": _values(name, shapes[name]) for name in shapes}
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    return directory


def write_cases(directory: Path) -> dict[str, Path]:
    """The pixels of each case."""
    return {case.name: write_inputs(case, directory) for case in CASES}


def _values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    key = hashlib.sha256(name.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        values *= torch.Size(shape[1:]).numel() ** -0.5
    else:
        values = values * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    return values.to(torch.bfloat16)
