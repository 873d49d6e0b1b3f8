# SPDX-License-Identifier: Apache-2.0
"""Seeded values of a vision tower whose spectra are those of trained weights.

Plain normal values make attention nearly uniform and a residual stream without
outliers, which dilutes faults and flatters noise. Here entries follow quantiles
that were measured on a trained ViT, q and k share few directions, few channels
of the residual stream are large in every block, and the stream grows.
docs/seeded-weights.md says what was measured and what comes of it.

Every operation is exact or one rounding of IEEE 754 on integers from a generator, so
that the bits are the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch

from mmparity.workload import models

AT = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Where the quantiles below are taken; values between them are interpolated."""
NORM = (0.5, 1.0, 1.3, 1.65, 1.8, 1.95, 2.3, 3.3, 6.0)
NORM_BIAS = (-4.3, -1.4, -0.45, -0.13, 0.04, 0.21, 0.5, 0.9, 1.9)
Q_BIAS = (-4.2, -3.2, -1.5, -0.15, 0.0, 0.15, 1.5, 3.2, 4.2)
K_BIAS = (-45.0, -25.0, -7.0, -0.5, 0.0, 0.5, 7.0, 25.0, 45.0)
BIAS = (-0.5, -0.2, -0.1, -0.04, 0.0, 0.04, 0.1, 0.2, 0.5)
"""Of v, of what is added to the residual stream, and of mergers."""
INNER_BIAS = (-3.0, -2.0, -1.5, -0.9, -0.6, -0.4, -0.2, 0.0, 0.5)
"""Before an activation."""
ROWS = (0.55, 0.7, 0.78, 0.91, 1.0, 1.07, 1.25, 1.4, 1.9)
"""Norms of a weight's rows over their median."""
CHANNELS = (0.45, 0.55, 0.7, 0.85, 1.0, 1.15, 1.5, 5.0, 20.0)
"""Sizes of the residual stream's channels over their median."""
RANK = 12
"""Directions of a head that q and k look at; of 64 lanes, half the singular
values are nothing."""
SHARPNESS = 5 / 8
"""Size of q and k over that of normal weights."""
FIRST, GROWTH, LATE, LATE_GROWTH = 0.5, 9 / 8, 24, 7 / 4
"""What a block adds to the stream: in block 0, from one to the next, and from block
``LATE`` on, for the last blocks of trained towers add the most by far."""
_DEVIATION = math.sqrt(4 * (256**2 - 1) / 12)  # of the sum of four bytes


@dataclass(frozen=True)
class Tower:
    """What values depend on, beside a tensor's name and shape."""

    width: int
    heads: int
    seed: int = 0

    @classmethod
    def of(cls, config: Any, seed: int = 0) -> Tower:
        """The tower of a transformers vision configuration."""
        return cls(models.width(config), config.num_heads, seed)


def values(name: str, shape: tuple[int, ...], tower: Tower) -> torch.Tensor:
    """A tensor of the tower, bfloat16, by the tower's own name for it.

    Depends on the name, the shape and ``tower`` only: an encoder cut in depth has
    the same first blocks.
    """
    place, _, parameter = name.rpartition(".")
    layer = place.rpartition(".")[2]
    if len(shape) == 1:
        found = _vector(name, layer, parameter, shape[0], tower)
    else:
        found = _matrix(name, layer, shape, tower)
    gain = _gain(name, layer, tower)
    if gain is not None:
        found = found * (
            gain if len(shape) == 1 or layer == "pos_embed" else gain[:, None]
        )
    return found.to(torch.bfloat16).view(shape)


def _vector(
    name: str, layer: str, parameter: str, size: int, tower: Tower
) -> torch.Tensor:
    if layer.startswith("norm") or layer == "ln_q":
        damped = channels(tower).sqrt().repeat(size // tower.width)
        table = NORM if parameter == "weight" else NORM_BIAS
        return quantiles(f"{name}", table, size, tower) / damped
    if layer == "qkv":
        place = name.removesuffix("qkv.bias")
        parts = (f"{place}{part}.bias" for part in "qkv")
        return torch.cat([_vector(n, n[-6], "bias", size // 3, tower) for n in parts])
    tables = {"q": Q_BIAS, "k": K_BIAS}
    inner = ("gate_proj", "up_proj", "fc1", "linear_fc1", "0")
    tables |= dict.fromkeys(inner, INNER_BIAS)
    return quantiles(name, tables.get(layer, BIAS), size, tower)


def _matrix(
    name: str, layer: str, shape: tuple[int, ...], tower: Tower
) -> torch.Tensor:
    if layer == "qkv":
        place = name.removesuffix("qkv.weight")
        third = (shape[0] // 3, shape[1])
        parts = (f"{place}{part}.weight" for part in "qkv")
        return torch.cat([_matrix(n, n[-8], third, tower) for n in parts])
    inputs = torch.Size(shape[1:]).numel()
    if layer in ("q", "k"):
        drawn = _few_directions(name, layer, tower) * SHARPNESS
    else:
        drawn = _thrown(name, (shape[0], inputs), tower) / _DEVIATION
    rows = quantiles(f"{name}:rows", ROWS, shape[0], tower)
    return drawn * (rows / math.sqrt(inputs))[:, None]


def _few_directions(name: str, layer: str, tower: Tower) -> torch.Tensor:
    """Rows of q or k: of each head, combinations of ``RANK`` rows that both share.

    Sums of products of integers below 2**24, which float32 has exactly. k's
    combinations are half q's: what looks alike attends.
    """
    place = name.removesuffix(f"{layer}.weight")
    size = tower.width // tower.heads
    looked_at = _thrown(f"{place}:shared", (tower.heads, RANK, tower.width), tower)
    mixed = _thrown(f"{place}:q", (tower.heads, size, RANK), tower)
    deviation = _DEVIATION
    if layer == "k":
        mixed = mixed + _thrown(f"{place}:k", (tower.heads, size, RANK), tower)
        deviation *= math.sqrt(2)
    scale = 1 / (deviation * _DEVIATION * math.sqrt(RANK))
    return (mixed @ looked_at).view(tower.width, tower.width) * scale


def _gain(name: str, layer: str, tower: Tower) -> torch.Tensor | None:
    """How large what a tensor adds to each channel of the residual stream is."""
    if name.startswith(("patch_embed.", "pos_embed.")):
        return channels(tower)
    added = ("proj", "down_proj", "fc2", "linear_fc2")
    if not name.startswith("blocks.") or layer not in added:
        return None
    block = int(name.split(".")[1])
    late = max(0, block - LATE)
    size = FIRST * math.prod([GROWTH] * (block - late) + [LATE_GROWTH] * late)
    if name.endswith(".bias"):
        size *= 4.0  # the same for every token, as outliers of trained towers are
    return channels(tower) * size


def channels(tower: Tower) -> torch.Tensor:
    """Size of each channel of the residual stream, the same in all blocks."""
    return quantiles("channels", CHANNELS, tower.width, tower)


def quantiles(
    name: str, table: tuple[float, ...], size: int, tower: Tower
) -> torch.Tensor:
    """``size`` values of the distribution with the quantiles ``table``, float32."""
    drawn = torch.empty(size, dtype=torch.int64)
    drawn.random_(0, 2**30, generator=_generator(name, tower))
    share = drawn.double() / 2**30
    at, known = (torch.tensor(t, dtype=torch.float64) for t in (AT, table))
    after = torch.bucketize(share, at, right=True)
    before = after - 1
    part = (share - at[before]) / (at[after] - at[before])
    return (known[before] + (known[after] - known[before]) * part).float()


def _thrown(name: str, shape: tuple[int, ...], tower: Tower) -> torch.Tensor:
    """Sums of four bytes less their mean: nearly normal whole numbers as float32."""
    bits = torch.empty(torch.Size(shape).numel(), dtype=torch.int32)
    bits.random_(-(2**31), 2**31 - 1, generator=_generator(name, tower))
    bytes_ = bits.view(torch.uint8).view(-1, 4)
    thrown = bytes_[:, 0].to(torch.int16)
    for column in range(1, 4):
        thrown += bytes_[:, column]
    return (thrown.float() - 510.0).view(shape)


def _generator(name: str, tower: Tower) -> torch.Generator:
    key = hashlib.sha256(f"trained:{tower.seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
