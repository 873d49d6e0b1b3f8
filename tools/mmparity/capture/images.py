# SPDX-License-Identifier: Apache-2.0
"""Images that were spread over ranks: what each rank captured -> the whole.

With ``--mm-encoder-tp-mode data`` every rank has the whole encoder and takes some of
the images, in the order that vLLM's load balancing gave them. Inside the encoder a
tensor's tokens lie image by image, also in window order: no window crosses images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from mmparity.capture.model_results import PATH, recording_results
from mmparity.encoders import Encoder, Ranks
from mmparity.trace import hook_points
from mmparity.trace.layout import LayoutError
from mmparity.workload.cases import Grid

if TYPE_CHECKING:
    from mmparity.trace.sink import Sink

RESULT = "last_hidden_state"
"""What the model returns and every rank has: the embeddings of all images."""
OFFSETS = "[sequences + 1]"
CELL = 4
"""Patches that one merged patch is made of."""


def images_of(grids: Sequence[Grid], ranks: Ranks) -> tuple[int, ...] | None:
    """The images that vLLM gives this rank, in its order; None if it spreads none."""
    if not ranks.data_parallel:
        return None
    vision = import_module("vllm.model_executor.models.vision")
    sizes = [math.prod(grid) for grid in grids]
    order, counts, _ = vision.get_load_balance_assignment(sizes, ranks.size)
    start = sum(counts[: ranks.rank])
    return tuple(order[start : start + counts[ranks.rank]])


def is_whole(hook_point: str) -> bool:
    """Whether every rank has it of all images."""
    return hook_point == RESULT or hook_points.is_of_model(hook_point)


def observed(encoder: Encoder, sink: Sink, ranks: Ranks) -> tuple[Encoder, Sink]:
    """Encoder and sink of a capture, which records what the model returns too.

    Where images are spread, that also is the tower's output: it has those of its rank.
    """
    encoder = recording_results(encoder, sink)
    if not ranks.data_parallel:
        return encoder, sink

    def forward(pixel_values: torch.Tensor, grid_thw: torch.Tensor) -> Any:
        result = encoder.forward(pixel_values, grid_thw)
        sink.add(RESULT, torch.cat(tuple(result)), PATH)
        return result

    return replace(encoder, forward=forward), _WithoutResult(sink)


@dataclass(frozen=True)
class _WithoutResult:
    """Leaves out what a rank's encoder returns: the result of its own images."""

    sink: Sink

    def add(self, hook_point: str, *args: Any, **kwargs: Any) -> None:
        if hook_point != RESULT:
            self.sink.add(hook_point, *args, **kwargs)

    def unmatched(self, path: str, reason: str, explained: bool) -> None:
        if path != RESULT:
            self.sink.unmatched(path, reason, explained)


def whole_of(
    name: str,
    tensors: Sequence[torch.Tensor],
    images: Sequence[Sequence[int]],
    grids: Sequence[Grid],
) -> torch.Tensor:
    """The tensor of all images, in their order.

    ``images`` has the numbers of each rank's images, in the rank's order.

    Raises LayoutError if a rank's tensor is not that of its images.
    """
    if name.endswith(".max_seqlen"):
        return torch.stack(tuple(tensors)).amax(0)
    if hook_points.get(name).layout == OFFSETS:
        lengths = [tensor.diff() for tensor in tensors]
        whole = whole_of(name.replace("cu_", ""), lengths, images, grids)
        return F.pad(whole.cumsum(0, dtype=whole.dtype), (1, 0))
    patches = [math.prod(grid) for grid in grids]
    pieces: dict[int, torch.Tensor] = {}
    for rank, (tensor, numbers) in enumerate(zip(tensors, images, strict=True)):
        sizes = [patches[number] for number in numbers]
        try:
            parts = list(_parts(name, tensor, sizes))
        except (RuntimeError, ValueError) as error:
            raise LayoutError(
                f"rank {rank} has {list(tensor.shape)}, which is not of images "
                f"{list(numbers)}: {error}"
            ) from error
        pieces.update(zip(numbers, parts, strict=True))
    if sorted(pieces) != list(range(len(grids))):
        raise LayoutError(f"of {len(grids)} images, ranks have {sorted(pieces)}")
    ordered = [pieces[number] for number in range(len(grids))]
    if name == "window_index":
        starts = _starts([size // CELL for size in patches])
        ordered = [part + start for part, start in zip(ordered, starts, strict=True)]
    return torch.cat(ordered)


def _parts(
    name: str, tensor: torch.Tensor, sizes: Sequence[int]
) -> Iterator[torch.Tensor]:
    """The rank's tensor, image by image; window indices from 0 in each."""
    layout = hook_points.get(name).layout
    if layout == "[sequences]":
        yield from _sequences(tensor, sizes)
        return
    unit = CELL if layout.startswith("[T/4") else 1
    counts = [size // unit for size in sizes]
    parts = tensor.split(counts)
    for part, start in zip(parts, _starts(counts), strict=True):
        yield part - start if name == "window_index" else part


def _sequences(lengths: torch.Tensor, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
    """Lengths of sequences, cut where an image ends."""
    ends = lengths.cumsum(0).tolist()
    places = [ends.index(end) + 1 for end in accumulate(sizes)]
    if ends and places[-1:] != [len(ends)]:
        raise ValueError(f"sequences of {ends[-1]} patches")
    for start, stop in pairwise([0, *places]):
        yield lengths[start:stop]


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *accumulate(counts)][:-1]
