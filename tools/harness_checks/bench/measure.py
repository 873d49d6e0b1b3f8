# SPDX-License-Identifier: Apache-2.0
"""What a forward of an encoder does beside taking time: calls, reads, memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from harness_checks.bench.clock import Clock
from harness_checks.bench.costs import ForwardCounts, Growth
from mmparity.encoders import npu_emulation
from mmparity.encoders.costs import (
    blocks_of,
    first_blocks,
    kept_bytes,
    per_block_of,
)
from mmparity.encoders.counting import counted

Forward = Callable[[], None]


def count(model: nn.Module, forward: Forward) -> ForwardCounts:
    """Operator calls of a forward, those of one block of it, and its peak memory."""
    forward()
    whole = counted(forward)
    per_block = per_block_of(model, whole, forward)
    return ForwardCounts(whole.dispatches, per_block, whole.peak_bytes)


def matrix_products(model: nn.Module, forward: Forward) -> Forward:
    """The matrix products of a forward, and nothing else of it.

    Every module with a weight that its input can be multiplied with counts as one,
    so also a patch embedding that is written as a convolution.
    """
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def note(module: nn.Module, given: Any) -> None:
        weight = module._parameters.get("weight")
        if weight is None or weight.dim() < 2 or not given:
            return
        matrix, x = weight.detach().flatten(1), given[0]
        if x.numel() % matrix.shape[1] == 0:
            rows = x.numel() // matrix.shape[1]
            found.append((x.new_empty(rows, matrix.shape[1]).normal_(), matrix))

    hooks = [m.register_forward_pre_hook(note) for m in model.modules()]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()

    def products() -> None:
        with torch.inference_mode():
            for x, matrix in found:
                F.linear(x, matrix)

    return products


class BetweenProjections:
    """Seconds in attention layers outside their linear layers, since ``restart``.

    That is rotary embedding, attention and the copies around them. Emulated
    operators are left out: how long they take says nothing of an NPU.
    """

    def __init__(self, model: nn.Module, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.restart()
        for block in blocks_of(model):
            attention = block.attn
            assert isinstance(attention, nn.Module)
            self._count(attention, 1)
            for child in attention.children():
                if "weight" in child._parameters:
                    self._count(child, -1)

    def restart(self) -> None:
        """Counts from nothing."""
        self._spans: list[tuple[int, Any, Any, float]] = []

    @property
    def seconds(self) -> float:
        """What the device has spent there; it must have done all it was given."""
        return sum(
            sign * (self.clock.between(start, end) - emulated)
            for sign, start, end, emulated in self._spans
        )

    def _count(self, module: nn.Module, sign: int) -> None:
        forward = module.forward

        def timed(*args: Any, **kwargs: Any) -> Any:
            start, emulated = self.clock.mark(), _emulated_seconds()
            result = forward(*args, **kwargs)
            emulated = _emulated_seconds() - emulated
            self._spans.append((sign, start, self.clock.mark(), emulated))
            return result

        module.forward = timed


def _emulated_seconds() -> float:
    return sum(npu_emulation.seconds.values())


def growth(
    model: nn.Module,
    forward: Callable[[list[list[int]]], Forward],
    sizes: int,
    forwards: int,
) -> Growth:
    """Bytes of tensors that stay after images of many sizes, objects after many calls.

    One block stands for all.
    """
    held = kept_bytes(model, forward, sizes)
    again = forward([[1, 2, 2]])
    with first_blocks(model, 1):
        again()
        objects_before = _objects()
        for _ in range(forwards):
            again()
        return Growth(held, _objects() - objects_before)


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())
