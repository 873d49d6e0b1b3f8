# SPDX-License-Identifier: Apache-2.0
"""Changes of what an encoder is given, with what becomes of its result.

One function for each; None where an encoder has no such thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mmparity.workload.models import ConfigValues

Grid = tuple[int, int, int]
Result = Callable[[torch.Tensor], torch.Tensor]

WINDOW = 8
"""Patches along the side of a window."""
NAMES = {
    "qwen2_vl": {"up": "mlp.fc1", "down": "mlp.fc2", "out": "merger.mlp.2"},
    "qwen2_5_vl": {"up": "mlp.up_proj", "down": "mlp.down_proj", "out": "merger.mlp.2"},
    "qwen3_vl": {
        "up": "mlp.linear_fc1",
        "down": "mlp.linear_fc2",
        "out": "merger.linear_fc2",
    },
}
"""Family -> what its layers are called."""


@dataclass(frozen=True)
class Given:
    """What an encoder is given.

    Attributes:
        family: the model family of its tower.
        heads: of its attention.
        weights: by name in the tower, float32.
        media: grid in patches and pixels, [patches, channels * frames * rows *
            columns], of each image or clip.
        vision: entries of its vision configuration that differ from the file's.
    """

    family: str
    heads: int
    weights: dict[str, torch.Tensor]
    media: tuple[tuple[Grid, torch.Tensor], ...]
    vision: ConfigValues

    @property
    def tokens(self) -> list[int]:
        """Merged tokens of each image or clip."""
        return [t * h * w // 4 for (t, h, w), _ in self.media]

    def named(self, what: str) -> list[str]:
        """Names of the layers that are called ``what`` in each block."""
        ending = NAMES[self.family].get(what, what)
        names = {name.rpartition(".")[0] for name in self.weights}
        return sorted(n for n in names if n == ending or n.endswith(f".{ending}"))


@dataclass(frozen=True)
class Changed:
    """What is given instead, and what the unchanged result must become."""

    given: Given
    result: Result
    exact: bool = False
    """Bit by bit: what was changed rounds nothing."""
    adds: float = 0.0
    """Normalized L2 error that the change itself may add, in any precision."""


def heads_permuted(given: Given) -> Changed:
    """The heads change places in q, k and v, and so do their lanes in proj."""
    order = torch.arange(given.heads).roll(1)
    weights = dict(given.weights)
    for name in given.named("attn.qkv"):
        for part in ("weight", "bias"):
            rows = weights[f"{name}.{part}"].unflatten(0, (3, given.heads, -1))
            weights[f"{name}.{part}"] = rows[:, order].flatten(0, 2)
    for name in given.named("attn.proj"):
        lanes = weights[f"{name}.weight"].unflatten(1, (given.heads, -1))
        weights[f"{name}.weight"] = lanes[:, order].flatten(1)
    return Changed(replace(given, weights=weights), _same)


def scale_moved_from_k_to_q(given: Given) -> Changed:
    """q twice and k half as large: the logits are the same."""
    return _qkv_scaled(given, (2.0, 0.5, 1.0), 1.0)


def scale_moved_from_v_to_proj(given: Given) -> Changed:
    """v four times as large, and proj takes it away."""
    return _qkv_scaled(given, (1.0, 1.0, 4.0), 0.25)


def lane_pairs_turned(given: Given) -> Changed:
    """q and k turned in the planes in which rotary embedding turns them.

    Turns in one plane add up, so the angle between q and k stays.
    """
    weights = dict(given.weights)
    for name in given.named("attn.qkv"):
        for part in ("weight", "bias"):
            rows = weights[f"{name}.{part}"].unflatten(0, (3, given.heads, 2, -1))
            first, second = rows[:2, :, 0], rows[:2, :, 1]
            angle = torch.linspace(0.3, 2.8, first.shape[2])
            angle = angle.view(-1, *[1] * (first.dim() - 3))
            turned = torch.stack(
                (
                    first * angle.cos() - second * angle.sin(),
                    first * angle.sin() + second * angle.cos(),
                ),
                dim=2,
            )
            rows = torch.cat((turned, rows[2:]))
            weights[f"{name}.{part}"] = rows.flatten(0, 3)
    # The turned weights are rounded once.
    return Changed(replace(given, weights=weights), _same, adds=1e-7)


def mlp_lanes_permuted(given: Given) -> Changed:
    """The lanes between an MLP's layers change places."""
    weights = dict(given.weights)
    for up, down in zip(given.named("up"), given.named("down"), strict=True):
        order = torch.arange(len(weights[f"{up}.bias"])).flip(0)
        gate = up.replace("up_proj", "gate_proj")
        for name in {up, gate}:
            for part in ("weight", "bias"):
                weights[f"{name}.{part}"] = weights[f"{name}.{part}"][order]
        weights[f"{down}.weight"] = weights[f"{down}.weight"][:, order]
    return Changed(replace(given, weights=weights), _same)


def result_lanes_permuted(given: Given) -> Changed:
    """The lanes of the last layer change places, and so do the result's."""
    (name,) = given.named("out")
    order = torch.arange(len(given.weights[f"{name}.bias"])).roll(7)
    weights = dict(given.weights)
    for part in ("weight", "bias"):
        weights[f"{name}.{part}"] = weights[f"{name}.{part}"][order]

    def result(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat((rows[:, order], rows[:, len(order) :]), dim=1)

    return Changed(replace(given, weights=weights), result)


def residual_scaled(given: Given) -> Changed:
    """All that is added to the residual stream, eight times as large.

    The norms that read it divide by its size; their eps is then smaller by
    comparison, of which 8e-7 was seen.
    """
    weights = dict(given.weights)
    for name, tensor in given.weights.items():
        layer = name.rpartition(".")[0]
        if layer in (*given.named("attn.proj"), *given.named("down")):
            weights[name] = tensor * 8
        if layer == "patch_embed.proj" or name == "pos_embed.weight":
            weights[name] = tensor * 8
    return Changed(replace(given, weights=weights), _same, adds=3e-6)


def channels_permuted(given: Given) -> Changed:
    """The pixels' channels change places, and so do those of the kernel."""
    order = [1, 2, 0]
    weights = dict(given.weights)
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"][:, order]
    media = tuple(
        (grid, pixels.unflatten(1, (3, -1))[:, order].flatten(1))
        for grid, pixels in given.media
    )
    return Changed(replace(given, weights=weights, media=media), _same)


def pixels_scaled(given: Given) -> Changed:
    """Pixels half as large, and a kernel that takes it away."""
    weights = dict(given.weights)
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"] * 2
    media = tuple((grid, pixels / 2) for grid, pixels in given.media)
    return Changed(replace(given, weights=weights, media=media), _same, exact=True)


def images_reordered(given: Given) -> Changed:
    """The images in reverse order: the result's are, too."""

    def result(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(rows.split(given.tokens)[::-1])

    return Changed(replace(given, media=given.media[::-1]), result)


def batch_split(given: Given) -> Changed:
    """The last image alone: no other one was looked at."""
    last = given.tokens[-1]
    return Changed(replace(given, media=given.media[-1:]), lambda rows: rows[-last:])


def image_twice(given: Given) -> Changed:
    """The first image once more at the end: the same rows once more."""
    first = given.tokens[0]
    media = (*given.media, given.media[0])
    return Changed(
        replace(given, media=media), lambda rows: torch.cat((rows, rows[:first]))
    )


def clip_as_images(given: Given) -> Changed:
    """Each pair of frames as an image of its own: no frame sees another."""
    media = []
    for (t, h, w), pixels in given.media:
        media += [((1, h, w), frame) for frame in pixels.split([h * w] * t)]
    return Changed(replace(given, media=tuple(media)), _same)


def windows_that_hold_all(given: Given) -> Changed | None:
    """Images of a window at most, with full attention everywhere: a longer way."""
    if given.family != "qwen2_5_vl":
        return None
    fits = [max(rows, columns) <= WINDOW for (_, rows, columns), _ in given.media]
    media = tuple(item for item, fit in zip(given.media, fits, strict=True) if fit)
    vision = {"fullatt_block_indexes": [0, 1, 2]}

    def result(rows: torch.Tensor) -> torch.Tensor:
        parts = rows.split(given.tokens)
        return torch.cat([part for part, fit in zip(parts, fits, strict=True) if fit])

    return Changed(replace(given, media=media, vision=vision), result)


def _same(rows: torch.Tensor) -> torch.Tensor:
    return rows


def _qkv_scaled(
    given: Given, factors: tuple[float, float, float], back: float
) -> Changed:
    weights = dict(given.weights)
    for name in given.named("attn.qkv"):
        for part in ("weight", "bias"):
            rows = weights[f"{name}.{part}"].unflatten(0, (3, -1))
            by = torch.tensor(factors).view(3, *[1] * (rows.dim() - 1))
            weights[f"{name}.{part}"] = (rows * by).flatten(0, 1)
    for name in given.named("attn.proj"):
        weights[f"{name}.weight"] = weights[f"{name}.weight"] * back
    return Changed(replace(given, weights=weights), _same, exact=True)


TRANSFORMS: dict[str, Callable[[Given], Changed | None]] = {
    function.__name__: function
    for function in (
        heads_permuted,
        scale_moved_from_k_to_q,
        scale_moved_from_v_to_proj,
        lane_pairs_turned,
        mlp_lanes_permuted,
        result_lanes_permuted,
        residual_scaled,
        channels_permuted,
        pixels_scaled,
        images_reordered,
        batch_split,
        image_twice,
        clip_as_images,
        windows_that_hold_all,
    )
}
