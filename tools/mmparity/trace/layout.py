# SPDX-License-Identifier: Apache-2.0
"""From an implementation's layout to the canonical one, by named transforms.

Each transform is planned on shapes first, so that a layout that nobody foresaw
is an error with both shapes in it and not a tensor that happens to broadcast.
Nothing is dropped unseen: lanes that are cut off must be exactly zero, halves
that are folded must be equal. So every transform has an inverse but those that
compute something else (``cos``, ``sin``, ``length``, ``longest``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from mmparity.trace.batched import BATCHED
from mmparity.trace.transform import HeadGeometry as HeadGeometry
from mmparity.trace.transform import LayoutError as LayoutError
from mmparity.trace.transform import Shape, Transform, view


@dataclass(frozen=True)
class Step:
    """A transform with the shape it will give."""

    name: str
    shape: Shape


@lru_cache(maxsize=4096)
def plan(
    names: tuple[str, ...], shape: Shape, geometry: HeadGeometry
) -> tuple[Step, ...]:
    """The steps that change something, in order."""
    steps = []
    for name in names:
        planned = TRANSFORMS[name].plan(shape, geometry)
        if planned != shape or name in ALWAYS:
            steps.append(Step(name, planned))
        shape = planned
    return tuple(steps)


def execute(tensor: torch.Tensor, steps: tuple[Step, ...]) -> torch.Tensor:
    """Applies planned steps."""
    for step in steps:
        tensor = TRANSFORMS[step.name].apply(tensor, step.shape)
        assert tuple(tensor.shape) == step.shape, (step, tensor.shape)
    return tensor


def invert(tensor: torch.Tensor, steps: tuple[Step, ...], shape: Shape) -> torch.Tensor:
    """A canonical tensor in the layout that ``steps`` were planned on."""
    shapes = (shape, *(step.shape for step in steps))
    for step, wanted in zip(reversed(steps), reversed(shapes[:-1]), strict=True):
        undo = TRANSFORMS[step.name].invert
        if undo is None:
            raise LayoutError(f"{step.name} cannot be undone")
        tensor = undo(tensor, wanted)
        assert tuple(tensor.shape) == wanted, (step, tensor.shape)
    return tensor


def _plan_squeeze(dim: int) -> Callable[[Shape, HeadGeometry], Shape]:
    def plan_squeeze(shape: Shape, geometry: HeadGeometry) -> Shape:
        if len(shape) <= dim or shape[dim] != 1:
            raise LayoutError(f"dimension {dim} of {list(shape)} is not 1")
        return shape[:dim] + shape[dim + 1 :]

    return plan_squeeze


def _plan_split(parts: int) -> Callable[[Shape, HeadGeometry], Shape]:
    """[T, parts * h * d] -> [T, parts, h, d], without ``parts`` where it is 1."""

    def plan_split(shape: Shape, geometry: HeadGeometry) -> Shape:
        count = parts * geometry.num_heads
        if len(shape) != 2 or shape[1] % count:
            raise LayoutError(f"{list(shape)} is not [T, {count} * head size]")
        head = (geometry.num_heads, shape[1] // count)
        return (shape[0], parts, *head) if parts > 1 else (shape[0], *head)

    return plan_split


def _plan_unpad(shape: Shape, geometry: HeadGeometry) -> Shape:
    if shape[-1] < geometry.head_size:
        raise LayoutError(f"{list(shape)} has heads below {geometry.head_size}")
    return (*shape[:-1], geometry.head_size)


def _unpad_tail(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Layout: head | pad."""
    size = shape[-1]
    _check_zero(tensor[..., size:])
    return tensor[..., :size]


def _unpad_halves(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Layout: first half | pad | second half | pad, so rotation pairs stay paired."""
    half = shape[-1] // 2
    halves = tensor.unflatten(-1, (2, -1))
    _check_zero(halves[..., half:])
    return halves[..., :half].flatten(-2)


def _pad_tail(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return F.pad(tensor, (0, shape[-1] - tensor.shape[-1]))


def _pad_halves(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    halves = tensor.unflatten(-1, (2, -1))
    return F.pad(halves, (0, shape[-1] // 2 - halves.shape[-1])).flatten(-2)


def _check_zero(lanes: torch.Tensor) -> None:
    wrong = lanes.count_nonzero().item()
    if wrong:
        worst = lanes.abs().max().item()
        raise LayoutError(
            f"{wrong} of {lanes.numel()} padded lanes are not zero; "
            f"the largest is {worst:.3e}"
        )


def _plan_half(shape: Shape, geometry: HeadGeometry) -> Shape:
    if shape[-1] % 2:
        raise LayoutError(f"{list(shape)} has no two halves")
    return (*shape[:-1], shape[-1] // 2)


def _fold_halves(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    first, second = tensor.chunk(2, dim=-1)
    if not torch.equal(first, second):
        raise LayoutError("the two halves of a duplicated cos or sin differ")
    return first


def _double_halves(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return torch.cat((tensor, tensor), dim=-1)


def _plan_diff(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 1 or shape[0] < 2:
        raise LayoutError(f"{list(shape)} is not a list of offsets")
    return (shape[0] - 1,)


def _diff(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    if tensor[0] != 0:
        raise LayoutError(f"the first offset is {tensor[0].item()}, not 0")
    return torch.diff(tensor)


def _offsets(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return F.pad(tensor.cumsum(0, dtype=tensor.dtype), (1, 0))


def _plan_offsets(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 1:
        raise LayoutError(f"{list(shape)} is not a list of lengths")
    return (shape[0] + 1,)


def _plan_longest(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 1 or not shape[0]:
        raise LayoutError(f"{list(shape)} is not a list of lengths")
    return (1,)


def _longest(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return tensor.max().reshape(shape)


def _plan_scalar(shape: Shape, geometry: HeadGeometry) -> Shape:
    if shape:
        raise LayoutError(f"{list(shape)} is not one number")
    return (1,)


def _plan_tokens_first(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 3 or shape[0] != geometry.num_heads:
        raise LayoutError(f"{list(shape)} is not [{geometry.num_heads}, T, d]")
    return (shape[1], shape[0], shape[2])


def _plan_length(shape: Shape, geometry: HeadGeometry) -> Shape:
    return (1,)


def _length(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return torch.tensor([tensor.shape[0]], dtype=torch.int32)


def _plan_one_of_qkv(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 2 or shape[1] % geometry.num_heads:
        raise LayoutError(f"{list(shape)} is not [T, {geometry.num_heads} * head size]")
    return (shape[0], 1, geometry.num_heads, shape[1] // geometry.num_heads)


def _plan_same(shape: Shape, geometry: HeadGeometry) -> Shape:
    return shape


def _plan_drop_empty(shape: Shape, geometry: HeadGeometry) -> Shape:
    if len(shape) != 1 or shape[0] < 2:
        raise LayoutError(f"{list(shape)} is not an empty sequence and others")
    return (shape[0] - 1,)


def _drop_empty(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    if tensor[0] != 0:
        raise LayoutError(f"the first sequence has {tensor[0].item()} tokens, not 0")
    return tensor[1:]


def _prepend_empty(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return F.pad(tensor, (1, 0))


def _swap(tensor: torch.Tensor, shape: Shape) -> torch.Tensor:
    return tensor.transpose(0, 1)


TRANSFORMS: dict[str, Transform] = {
    "squeeze.0": view(_plan_squeeze(0)),
    "squeeze.1": view(_plan_squeeze(1)),
    "squeeze.2": view(_plan_squeeze(2)),
    "split_heads": view(_plan_split(1)),
    "split_qkv": view(_plan_split(3)),
    "one_of_qkv": view(_plan_one_of_qkv),
    "unpad_tail": Transform(_plan_unpad, _unpad_tail, _pad_tail),
    "unpad_halves": Transform(_plan_unpad, _unpad_halves, _pad_halves),
    "cos": Transform(_plan_same, lambda x, _: x.cos()),
    "sin": Transform(_plan_same, lambda x, _: x.sin()),
    "drop_empty": Transform(_plan_drop_empty, _drop_empty, _prepend_empty),
    "fold_halves": Transform(_plan_half, _fold_halves, _double_halves),
    "offsets_to_lengths": Transform(_plan_diff, _diff, _offsets),
    "lengths_to_offsets": Transform(_plan_offsets, _offsets, _diff),
    "longest": Transform(_plan_longest, _longest),
    "scalar": view(_plan_scalar),
    "tokens_first": Transform(_plan_tokens_first, _swap, _swap),
    "length": Transform(_plan_length, _length),
    **BATCHED,
}
ALWAYS = frozenset(
    {"tokens_first", "length", "longest", "cos", "sin", "heads_last", "channels_last"}
)
"""Transforms that may change a tensor and not its shape."""
COMPUTED = frozenset({"length", "offsets_to_lengths", "lengths_to_offsets", "longest"})
"""Transforms that make integers of what an implementation has instead."""
