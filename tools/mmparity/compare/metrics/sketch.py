# SPDX-License-Identifier: Apache-2.0
"""A tensor's statistics per token, in one pass on the CPU and in four on a device.

For each row of the first dimension: norm, minimum, maximum, and its products with a
few fixed random vectors. Such a sketch is linear: the sketch of new minus that of old
is the sketch of their difference, whose size is an estimate of the difference's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from mmparity.compare.metrics import kernels

PROJECTIONS = 8
SEED = 2026
COLUMNS = 3 + PROJECTIONS
"""Norm, minimum, maximum, and the sketch."""
MISS = 3.06
"""The true size is above so many times the estimated one in one case of 1000: the
squares' ratio has the chi-square distribution of as many degrees of freedom as there
are projections, whatever the difference, because the vectors are normal."""
TILE = 1 << 19
"""Elements that are widened at a time: they stay in the caches of a core or two."""
HALVES = (torch.bfloat16, torch.float16)


def reducible(tensor: torch.Tensor) -> bool:
    """Whether statistics of it say less, in less room, than the tensor."""
    if not tensor.is_floating_point() or tensor.dim() < 2 or not tensor.numel():
        return False
    return tensor.numel() // len(tensor) > COLUMNS


@lru_cache(maxsize=32)
def projections(
    width: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Normal vectors, [width, PROJECTIONS]: the same for every tensor of this width.

    numpy keeps what its RandomState draws the same in every version.
    """
    drawn = np.random.RandomState([SEED, width]).standard_normal((PROJECTIONS, width))
    vectors = torch.from_numpy(drawn.astype(np.float32)).to(device, dtype)
    return vectors.t()


class Statistician:
    """Makes statistics, in memory that is used again for each tensor.

    Those of 16 bits are summed in float32, where the tensor is; others in float64,
    on the CPU.
    """

    def __init__(self) -> None:
        self._room: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}

    @torch.inference_mode()
    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """float32 [tokens, COLUMNS]; the tensor is free to change afterwards."""
        half = tensor.dtype in HALVES
        given = tensor if half else tensor.cpu()
        dtype = torch.float32 if half else torch.float64
        width = given.numel() // len(given)
        vectors = projections(width, dtype, given.device)
        out = torch.empty(len(given), COLUMNS, device=given.device)
        cpu = given.device.type == "cpu"
        as_it_is = cpu and given.is_contiguous() and given.dtype in kernels.NATIVE
        step = len(given) if as_it_is else max(1, TILE // width)
        for part, into in zip(given.split(step), out.split(step), strict=True):
            x_TD = part if as_it_is else self._widened(part, dtype)
            (_by_pass if cpu else _by_torch)(x_TD.view(len(part), width), vectors, into)
        return out.cpu()

    def _widened(self, part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The values in contiguous memory of the wide dtype.

        Not `part.float()`: an oracle may run with casts to float32 turned off.
        """
        kind, numel = (dtype, part.device), part.numel()
        if kind not in self._room or self._room[kind].numel() < numel:
            room = torch.empty(max(TILE, numel), dtype=dtype, device=part.device)
            self._room[kind] = room
        return self._room[kind][:numel].view(part.shape).copy_(part)


def _by_torch(x_TD: torch.Tensor, vectors: torch.Tensor, out: torch.Tensor) -> None:
    """Statistics of x to ``out``, [T, COLUMNS], on any device."""
    out[:, 0] = torch.linalg.vector_norm(x_TD, dim=1)
    out[:, 1] = x_TD.amin(1)
    out[:, 2] = x_TD.amax(1)
    out[:, 3:] = x_TD @ vectors


def _by_pass(x_TD: torch.Tensor, vectors: torch.Tensor, out: torch.Tensor) -> None:
    """The same on the CPU; of ``vectors``' dtype are the sums of runs of a row."""
    array = kernels.as_array(x_TD)
    vectors_PD = vectors.t().numpy()
    kernels.statistics(array, vectors_PD, vectors_PD.dtype.type(0), out.numpy())
