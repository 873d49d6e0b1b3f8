# SPDX-License-Identifier: Apache-2.0
"""Described towers, built of vLLM's classes, and how pixels are handed to them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mmparity.encoders.rules import HookMap
from mmparity.workload import tower_weights
from mmparity.workload.towers import Table, Tower

MODELS = "vllm.model_executor.models"


@dataclass(frozen=True)
class Given:
    """What a tower may be given of one case."""

    tower: Tower
    pixels: torch.Tensor
    """[patches, numbers of one]."""
    grid: torch.Tensor
    """[images, 3], on the host."""

    @property
    def images(self) -> torch.Tensor:
        """[images, channels, height, width]; all have the same grid."""
        _, rows, columns = self.grid[0].tolist()
        side, channels = self.tower.shape.patch_size, self.tower.shape.channels
        cells = self.pixels.view(-1, rows, columns, channels, side, side)
        whole = cells.permute(0, 3, 1, 4, 2, 5)
        return whole.reshape(len(cells), channels, rows * side, columns * side)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image in pixels."""
        side = self.tower.shape.patch_size
        return [
            (rows * side, columns * side) for _, rows, columns in self.grid.tolist()
        ]

    @property
    def cells(self) -> torch.Tensor:
        """[patches, channels, side, side]."""
        side, channels = self.tower.shape.patch_size, self.tower.shape.channels
        return self.pixels.view(-1, channels, side, side)

    @property
    def crops(self) -> torch.Tensor:
        """[images, crops, patches, numbers of one], with one crop each."""
        return self.pixels.view(len(self.grid), 1, -1, self.pixels.shape[-1])

    @property
    def sounds(self) -> torch.Tensor:
        """[sounds, mel bins, frames]."""
        frames = self.pixels.view(len(self.grid), -1, self.tower.shape.channels)
        return frames.transpose(1, 2).contiguous()

    @property
    def mask(self) -> torch.Tensor:
        """[images, rows, columns]: every patch is one of the image."""
        return self.grid.new_ones(len(self.grid), *self.grid[0, 1:].tolist()).bool()


def _navit(given: Given) -> Table:
    """As PaddleOCR-VL and Keye hand in patches, with the place of each in its image."""
    grids = [tuple(grid) for grid in given.grid.tolist()]
    sizes = given.grid.prod(-1)
    places = [torch.arange(math.prod(grid)) % math.prod(grid[1:]) for grid in grids]
    return {
        "pixel_values": given.cells[None],
        "image_grid_thw": grids,
        "position_ids": torch.cat(places),
        "interpolate_pos_encoding": True,
        "cu_seqlens": F.pad(sizes.cumsum(0), (1, 0)).int(),
    }


WAYS: dict[str, Callable[[Given], tuple[Any, ...] | Table]] = {
    "images": lambda given: (given.images,),
    "list of images": lambda given: (list(given.images),),
    "sized images": lambda given: (given.images, given.sizes),
    "masked images": lambda given: (given.images, given.mask),
    "patches": lambda given: (given.pixels, given.grid.tolist()),
    "patches, grid tensor": lambda given: (given.pixels, given.grid),
    "square patches": lambda given: (given.cells, given.grid[:, 1:]),
    "placed patches": _navit,
    "placed patches, use rope": lambda given: {**_navit(given), "use_rope": True},
    "crops": lambda given: (given.crops, given.crops.new_ones(given.crops.shape[:3])),
    "sounds": lambda given: (given.sounds,),
    "list of sounds": lambda given: (list(given.sounds),),
}
"""How ``inputs`` and ``oracle_inputs`` hand a case to a tower, by name."""


def forward_of(
    tower: Tower, module: Any, device: Any, dtype: torch.dtype, way: str
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Runs a tower on pixels and grids; there is no model around it.

    Of arguments by name it is given those that it takes: what the released tower wants
    to be told, the series may compute inside.
    """
    taken = inspect.signature(module.forward).parameters

    def forward(pixels: torch.Tensor, grid: torch.Tensor) -> None:
        given = WAYS[way](Given(tower, pixels.to(device, dtype), grid))
        if isinstance(given, dict):
            module(**{name: one for name, one in given.items() if name in taken})
        else:
            module(*given)

    return forward


def built(tower: Tower, vllm_config: Any) -> nn.Module:
    """vLLM's class, built as the model around it builds it."""
    kind = tower_weights.class_at(f"{MODELS}.{tower.module}")
    config = vllm_config.model_config.hf_config
    _, first, *others = inspect.signature(kind.__init__).parameters
    offered = {"quant_config": None, "prefix": "visual"}
    more = {name: value for name, value in offered.items() if name in others}
    subject = vllm_config if first == "vllm_config" else config
    module: nn.Module = kind(**{first: subject}, **more, **_arguments(tower))
    return module


def _arguments(tower: Tower) -> Table:
    """The described arguments; of a table with a ``class`` one is made."""
    found = dict(tower.given)
    for name, value in found.items():
        if isinstance(value, dict):
            fields = {key: one for key, one in value.items() if key != "class"}
            found[name] = tower_weights.class_at(value["class"])(**fields)
    return found


def load(module: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    """Loads as the class does, or as vLLM does for one that says nothing of it."""
    if hasattr(module, "load_weights"):
        return set(module.load_weights(weights))
    utils = import_module(f"{MODELS}.utils")
    return set(utils.AutoWeightsLoader(module).load_weights(weights))


def describe(module: nn.Module, names: HookMap, tower: Tower) -> Table:
    """The hyper-parameters of a built tower, as of any other."""
    operator = _attention(module, names)
    backend = getattr(operator, "attn_backend", None)
    size = getattr(operator, "padded_head_size", None)
    known = {
        "tower_class": type(module).__name__,
        "num_heads": tower.shape.heads,
        "head_size": tower.shape.head_size,
        "spatial_merge_size": tower.shape.merge_size,
    }
    if operator is None:
        return known
    return known | {
        "backend": getattr(backend, "name", None),
        "attention_operator_class": type(operator).__name__,
        "scale": getattr(operator, "scale", math.nan),
        "padded_head_size": size or getattr(operator, "head_size", None),
    }


def _attention(module: nn.Module, names: HookMap) -> Any:
    """The attention operator of the first block, where it is a module."""
    for path, taps in names.modules.items():
        if isinstance(taps, tuple) and any(t.take == "input.query" for t in taps):
            return module.get_submodule(path.replace("{i}", "0"))
    return None
