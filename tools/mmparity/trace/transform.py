# SPDX-License-Identifier: Apache-2.0
"""What a transform of a layout is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Shape = tuple[int, ...]


class LayoutError(ValueError):
    """The tensor cannot be brought to its canonical layout."""


@dataclass(frozen=True)
class HeadGeometry:
    """What the transforms need to know of an encoder."""

    num_heads: int
    head_size: int


@dataclass(frozen=True)
class Transform:
    """A step towards the canonical layout.

    Attributes:
        plan: shape before -> shape after; raises LayoutError where it cannot.
        apply: the tensor and its planned shape -> the transformed tensor;
            raises LayoutError where it would lose something.
        invert: the transformed tensor and the shape before -> the tensor; None
            where the transform cannot be undone.
    """

    plan: Callable[[Shape, HeadGeometry], Shape]
    apply: Callable[[torch.Tensor, Shape], torch.Tensor]
    invert: Callable[[torch.Tensor, Shape], torch.Tensor] | None = None


def view(plan: Callable[[Shape, HeadGeometry], Shape]) -> Transform:
    """One that reshapes, either way."""
    return Transform(plan, _reshape, _reshape)


def _reshape(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return tensor.reshape(shape)
