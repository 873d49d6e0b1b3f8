# SPDX-License-Identifier: Apache-2.0
"""The weights of described towers: names and shapes, and those of the oracle."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch

from mmparity.workload.towers import Tower

TRANSFORMERS = "transformers.models."


def expected_shapes(tower: Tower) -> dict[str, tuple[int, ...]]:
    """The checkpoint's names and shapes: as the oracle's are, and as described."""
    found = _of_oracle(tower) if tower.oracle else {}
    for name, shape in tower.weights.items():
        if not shape:  # of the tower that this one is like
            continue
        for number in range(tower.shape.depth) if "*" in name else (0,):
            found |= _layer(name.replace("*", f"{tower.blocks}.{number}"), shape)
    return found


def _of_oracle(tower: Tower) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        parameters = dict(oracle_tower(tower).named_parameters())
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in parameters.items():
        stored, _, parts = tower.stored_names(name)
        if stored:
            first, *rest = parameter.shape or (1,)
            shapes[stored] = (first * parts, *rest) if parts > 1 else parameter.shape
    return {name: tuple(shape) for name, shape in shapes.items()}


def _layer(name: str, shape: list[int]) -> dict[str, tuple[int, ...]]:
    if name.endswith((".weight", ".bias", "!")):
        return {name.removesuffix("!"): tuple(shape)}
    return {f"{name}.weight": tuple(shape), f"{name}.bias": (shape[0],)}


def config_of(tower: Tower, kind: str = "") -> Any:
    """Its configuration, as its own class or ``kind`` makes it of the fields."""
    return class_at(kind or tower.config_class)(**tower.config)


def oracle_tower(tower: Tower) -> Any:
    """transformers' tower, with SDPA as its attention."""
    config = config_of(tower, tower.oracle_config_class)
    config._attn_implementation = "sdpa"
    return class_at(f"{TRANSFORMERS}{tower.oracle}")(config)


def class_at(place: str) -> Any:
    """The class at ``package.module:Class``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def oracle_state(
    tower: Tower, names: Iterable[str], weights: Iterable[tuple[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors, as the oracle's parameters ``names`` take them."""
    stored = dict(weights)
    state = {}
    for name in names:
        place, number, parts = tower.stored_names(name)
        if place:
            state[name] = stored[place].chunk(parts)[number].contiguous()
    return state
