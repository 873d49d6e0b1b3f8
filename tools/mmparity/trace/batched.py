# SPDX-License-Identifier: Apache-2.0
"""From layouts with a batch, as most towers have, to tokens first."""

from __future__ import annotations

import math

import torch

from mmparity.trace.transform import (
    HeadGeometry,
    LayoutError,
    Shape,
    Transform,
    view,
)


def _plan_tokens(shape: Shape, geometry: HeadGeometry) -> Shape:
    """[..., D] -> [T, D]: batches one after the other."""
    if len(shape) < 2:
        raise LayoutError(f"{list(shape)} has no tokens")
    return (math.prod(shape[:-1]), shape[-1])


def _plan_heads(shape: Shape, geometry: HeadGeometry) -> Shape:
    """[..., h, d] or [..., h * d] -> [T, h, d]."""
    size = geometry.head_size
    if len(shape) > 2 and shape[-1] == size:
        return (math.prod(shape[:-2]), *shape[-2:])
    if len(shape) < 2 or shape[-1] % size:
        raise LayoutError(f"{list(shape)} has no heads of {size}")
    return (math.prod(shape[:-1]), shape[-1] // size, size)


def _plan_heads_first(shape: Shape, geometry: HeadGeometry) -> Shape:
    """[b, h, s, d] or [h, s, d] -> [b * s, h, d]."""
    if len(shape) not in (3, 4):
        raise LayoutError(f"{list(shape)} is neither [b, h, s, d] nor [h, s, d]")
    return (math.prod(shape[:-3]) * shape[-2], shape[-3], shape[-1])


def _heads_last(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return tensor.transpose(-3, -2).reshape(shape)


def _heads_first(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    *batch, heads, tokens, size = shape
    return tensor.reshape(*batch, tokens, heads, size).transpose(-3, -2)


def _plan_channels_last(shape: Shape, geometry: HeadGeometry) -> Shape:
    """[b, D, ...] -> [T, D]: an image row by row."""
    if len(shape) < 3:
        raise LayoutError(f"{list(shape)} is not [b, D, rows, columns]")
    return (math.prod(shape) // shape[1], shape[1])


def _channels_last(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return tensor.movedim(1, -1).reshape(shape)


def _channels_first(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    batch, channels, *sizes = shape
    return tensor.reshape(batch, *sizes, channels).movedim(-1, 1)


BATCHED: dict[str, Transform] = {
    "tokens": view(_plan_tokens),
    "heads": view(_plan_heads),
    "heads_last": Transform(_plan_heads_first, _heads_last, _heads_first),
    "channels_last": Transform(_plan_channels_last, _channels_last, _channels_first),
}
