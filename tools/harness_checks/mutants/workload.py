# SPDX-License-Identifier: Apache-2.0
"""What mutants run on: narrow encoders of the real shape of head, a few grids.

Heads of 80 lanes, one window, one full and one more window block; width does
not matter to any of the bugs, and a narrow encoder runs in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mmparity.project import known
from mmparity.workload import spectra
from mmparity.workload.cases import Case, Noise, tower_case
from mmparity.workload.checkpoint import expected_shapes
from mmparity.workload.inputs import Geometry, write_inputs
from mmparity.workload.models import FAMILIES, ConfigValues
from mmparity.workload.quantized import DESCRIPTION, FLOAT, W8A8, is_quantized, quantize
from mmparity.workload.towers import TOWERS, TowerConfig

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
QWEN2 = {
    "depth": 3,
    "embed_dim": 160,
    "hidden_size": 256,
    "num_heads": 2,
    "mlp_ratio": 2,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
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
    Case(
        "clips",
        "two clips, which go the way of videos, one of three frames",
        (Noise((2, 4, 6), 5), Noise((3, 6, 4), 6)),
    ),
)
SMALLEST = min(CASES, key=lambda case: case.patches).name
"""The case on which noise is measured, as in a run."""


@dataclass(frozen=True)
class Workload:
    """An encoder and how it is run.

    Attributes:
        vision: its vision configuration, of the model type ``family``.
        quantized: its checkpoint is W8A8.
        ranks: it is spread over so many processes.
        data_parallel: each of them takes some of the images, instead of a shard.
        base: the workload whose data it uses, where it has none of its own.
        trained: its weights have the spectra of trained ones.
    """

    name: str
    vision: ConfigValues
    family: str = "qwen2_5_vl"
    quantized: bool = False
    ranks: int = 1
    data_parallel: bool = False
    base: str = ""
    trained: bool = False

    @property
    def weights(self) -> str:
        """What its weights are like, as the scores name it."""
        return "trained spectra" if self.trained else "normal"

    @property
    def twin(self) -> str:
        """Name of the same workload on weights with trained spectra."""
        return f"{self.name}-trained"

    @property
    def data(self) -> str:
        """The workload whose checkpoint, pixels and references it uses."""
        return self.base or self.name

    @property
    def path(self) -> str:
        """What is particular to it, as the scores name it; empty for nothing."""
        if self.quantized:
            return "W8A8"
        if self.ranks > 1:
            return "data-parallel" if self.data_parallel else f"TP {self.ranks}"
        return ""


_NORMAL = (
    Workload("float", QWEN2_5),
    # Rounding to integers adds noise with each block: one is enough.
    Workload(
        "w8a8",
        {**QWEN2_5, "depth": 1, "fullatt_block_indexes": [0]},
        quantized=True,
    ),
    Workload("qwen2", QWEN2, "qwen2_vl"),
    Workload("omni", QWEN2_5, "qwen2_5_omni"),
    Workload("qwen3", QWEN3, "qwen3_vl"),
    Workload("tp2", QWEN2_5, ranks=2, base="float"),
    Workload("qwen2-tp2", QWEN2, "qwen2_vl", ranks=2, base="qwen2"),
    Workload("dp2", QWEN2_5, ranks=2, data_parallel=True, base="float"),
)


def _on_trained(load: Workload) -> Workload:
    base = f"{load.base}-trained" if load.base else ""
    return replace(load, name=load.twin, base=base, trained=True)


_OF_TOWERS = tuple(Workload(name, {}, name) for name in TOWERS)
_ALL = (*_NORMAL, *map(_on_trained, _NORMAL), *_OF_TOWERS)
WORKLOADS = {load.name: load for load in _ALL}


def get(name: str) -> Workload:
    """The workload of that name."""
    return known("workload", name, WORKLOADS)


def write_checkpoint(directory: Path, workload: Workload) -> Path:
    """Seeded weights; biases and norms are away from 0 and 1."""
    config = _vision_part(_config(workload), workload)
    shapes = expected_shapes(config)
    if workload.trained:
        tower = spectra.Tower.of(config)
        tensors = {n: spectra.values(n, shape, tower) for n, shape in shapes.items()}
    else:
        tensors = {name: _values(name, shape) for name, shape in shapes.items()}
    return write_tensors(directory, workload, tensors)


def write_tensors(
    directory: Path, workload: Workload, tensors: dict[str, torch.Tensor]
) -> Path:
    """A checkpoint of these tensors, by their names in the tower."""
    directory.mkdir(parents=True, exist_ok=True)
    _config(workload).save_pretrained(directory)
    if workload.quantized:
        description = {}
        for name in [name for name in tensors if name.endswith(".weight")]:
            layer = name.removesuffix(".weight")
            chosen = is_quantized(layer)
            description[f"visual.{name}"] = W8A8 if chosen else FLOAT
            if chosen:
                tensors |= quantize(layer, tensors[name], tensors[f"{layer}.bias"])
        (directory / DESCRIPTION).write_text(json.dumps(description))
    prefix = "" if workload.family in TOWERS else "visual."
    stored = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    save_file(stored, directory / "model.safetensors", {"format": "pt"})
    return directory


def write_cases(directory: Path, workload: Workload) -> dict[str, Path]:
    """The pixels of each case."""
    geometry = geometry_of(workload)
    cases: tuple[Case, ...] = CASES
    if workload.family in TOWERS:
        cases = (tower_case(TOWERS[workload.family]),)
    return {case.name: write_inputs(case, directory, geometry) for case in cases}


def geometry_of(workload: Workload) -> Geometry:
    """How its tower cuts images into patches."""
    return Geometry.of(_vision_part(_config(workload), workload))


def _config(workload: Workload) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if workload.family in TOWERS:
        return TowerConfig(TOWERS[workload.family])
    parts: ConfigValues = workload.vision
    for name in reversed(FAMILIES[workload.family].path):
        parts = {name: parts}
    return CONFIG_MAPPING[workload.family](**parts)


def _vision_part(config: Any, workload: Workload) -> Any:
    return reduce(getattr, FAMILIES[workload.family].path, config)


def _values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    key = hashlib.sha256(name.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        values *= torch.Size(shape[1:]).numel() ** -0.5
    else:
        values = values * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    return values.to(torch.bfloat16)
