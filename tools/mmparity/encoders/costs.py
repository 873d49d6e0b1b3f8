# SPDX-License-Identifier: Apache-2.0
"""What an encoder costs over many forwards: time, calls a block, memory that stays."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice, product
from typing import Any, TypeVar

import torch
from torch import nn

from mmparity.encoders import Encoder
from mmparity.encoders.counting import Forward, counted
from mmparity.encoders.model_runner import cached_entries
from mmparity.types.trace import Costs, Counts, PerBlock

GRID = (1, 24, 32)
"""Of the image whose forward is timed and counted."""
ITEMS, ITEM = 8, (1, 12, 16)
"""Images of the batch whose embeddings are cached."""
SIZES = 100
CELL = 4
"""Patches that a merger makes one token of."""
REPEATS = 3
T = TypeVar("T")
Grids = list[list[int]]


def costs_of(encoder: Encoder, width: int, *, ascend: bool) -> Costs:
    """Measures an encoder of vLLM, which stays as it is.

    What cannot be measured is left out, with the reason.

    Args:
        encoder: built by vLLM's runtime, in this process.
        width: values of a patch.
        ascend: whether vllm-ascend's model runner caches its embeddings.
    """
    model, missing = encoder.model, dict[str, str]()
    one = _forward(encoder, [list(GRID)], width)
    batch = _forward(encoder, [list(ITEM)] * ITEMS, width)
    sizes = partial(_forward, encoder, width=width)
    entries = _tried(
        missing, "pinned_bytes", lambda: cached_entries(batch, ITEMS, ascend=ascend)
    )
    entry = entries[0] if entries else None
    return Costs(
        grid=GRID,
        seconds=_tried(missing, "seconds", lambda: least_seconds(one)),
        per_block=_tried(
            missing, "per_block", lambda: per_block_of(model, counted(one), one)
        ),
        sizes=SIZES,
        kept_bytes=_tried(
            missing, "kept_bytes", lambda: kept_bytes(model, sizes, SIZES)
        ),
        items=ITEMS,
        entry_bytes=None if entry is None else entry.nbytes,
        pinned_bytes=None if entry is None else entry.untyped_storage().nbytes(),
        missing=missing,
    )


def _tried(missing: dict[str, str], name: str, action: Callable[[], T]) -> T | None:
    """What an action gives; None, and its error among what is missing, if it fails."""
    try:
        return action()
    except Exception as error:
        missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _forward(encoder: Encoder, grids: Grids, width: int) -> Forward:
    """A forward of noise on these grids."""
    grid_thw = torch.tensor(grids)
    generator = torch.Generator().manual_seed(0)
    patches = int(grid_thw.prod(dim=1).sum())
    pixels = torch.randn((patches, width), generator=generator)

    def forward() -> object:
        with torch.inference_mode():
            return encoder.forward(pixels, grid_thw)

    return forward


def least_seconds(forward: Forward) -> float:
    """The least wall time of several forwards, after one more."""
    forward()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        forward()
        found.append(time.perf_counter() - started)
    return min(found)


def per_block_of(model: nn.Module, whole: Counts, forward: Forward) -> PerBlock:
    """Calls of one block: the mean over those beyond the first half.

    Args:
        model: whose ``blocks`` are cut for it, and whole again at the end.
        whole: what ``forward`` calls with all of them.
    """
    depth = len(blocks_of(model))
    half = depth // 2
    with first_blocks(model, half):
        part = counted(forward)
    blocks = depth - half
    return PerBlock(
        reads=(whole.host_reads - part.host_reads) / blocks,
        pads=(whole.pads - part.pads) / blocks,
        cats=(whole.concatenations - part.concatenations) / blocks,
        dispatches=(whole.dispatches - part.dispatches) / blocks,
    )


def kept_bytes(
    model: nn.Module, forward: Callable[[Grids], Forward], sizes: int
) -> int:
    """Bytes of tensors that stay after forwards of images of so many sizes.

    One block stands for all and computes nothing, and the merger computes one token, as
    what is kept by size is prepared before the blocks.
    """
    sides = product(range(2, 2 + 2 * 40, 2), repeat=2)
    chosen = [[[1, *side]] for side in islice(sides, sizes)]
    with (
        first_blocks(model, 1),
        _idle(blocks_of(model)[0]),
        _brief(getattr(model, "merger", None)),
    ):
        forward(chosen[0])()
        before = _tensor_bytes()
        for grid in chosen:
            forward(grid)()
        return _tensor_bytes() - before


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The blocks of a tower."""
    assert isinstance(model.blocks, nn.ModuleList)
    return model.blocks


@contextmanager
def first_blocks(model: nn.Module, number: int) -> Iterator[None]:
    """The tower with its first blocks only, until the end of the ``with``."""
    blocks = blocks_of(model)
    model.blocks = nn.ModuleList(list(blocks)[:number])
    try:
        yield
    finally:
        model.blocks = blocks


@contextmanager
def _idle(block: nn.Module) -> Iterator[None]:
    """A block that hands on what it is given."""
    block.forward = lambda x, *args, **kwargs: x
    try:
        yield
    finally:
        del block.forward


@contextmanager
def _brief(merger: Any) -> Iterator[None]:
    """A merger that merges the first of its cells, and has it for all others."""
    merge = getattr(merger, "forward", None)
    if merge is None:
        yield
        return
    merger.forward = lambda x: merge(x[:CELL])[:1].repeat(len(x) // CELL, 1)
    try:
        yield
    finally:
        del merger.forward


def _tensor_bytes() -> int:
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
