# SPDX-License-Identifier: Apache-2.0
"""Which part of a tensor a rank has."""

from __future__ import annotations

import torch

from mmparity.trace import hook_points
from mmparity.trace.layout import LayoutError


def shard(
    tensor: torch.Tensor, point: hook_points.HookPoint, rank: int, ranks: int
) -> torch.Tensor:
    """What one rank has of a whole tensor; what ``gather_traces`` puts together."""
    if point.sharded is None or ranks == 1:
        return tensor
    dim = point.sharded
    if tensor.shape[dim] % (point.parts * ranks):
        raise LayoutError(
            f"dimension {dim} of {list(tensor.shape)} is not {point.parts} parts for "
            f"{ranks} ranks"
        )
    parts = tensor.unflatten(dim, (point.parts, ranks, -1))
    return parts.select(dim + 1, rank).flatten(dim, dim + 1)
