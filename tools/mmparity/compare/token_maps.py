# SPDX-License-Identifier: Apache-2.0
"""Where on the images a failing row differs: the error of each of its tokens.

Patches come in the processors' order: row by row of merged cells, inside a cell row
by row of patches. Blocks of Qwen2.5-VL run in window order, cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mmparity.compare.metrics import metrics
from mmparity.compare.tolerances import is_integral
from mmparity.trace.reader import TraceReader
from mmparity.types.row import LayerComparison, TokenMap, WorstElement
from mmparity.workload.cases import Grid

MOST_ROWS = 8
"""Failing rows of a case, the earliest, that a map is made of."""
MOST_ELEMENTS = 10
MERGE = 2
CELL = MERGE * MERGE
IMAGE_ORDER = ("patch_embed", "pos_embeds", "last_hidden_state")
"""Hook points whose tokens are in the processors' order; all others in the blocks'."""


def token_maps(
    layers: Sequence[LayerComparison], old: TraceReader, new: TraceReader
) -> tuple[TokenMap, ...]:
    """Maps of the earliest rows that fail with numbers, in order of execution."""
    failing = [
        layer
        for layer in layers
        if layer.verdict == "fail"
        and layer.metrics is not None
        and not is_integral(layer.old_dtype)
        and len(layer.shape) > 1
    ]
    return tuple(_map(layer, old, new) for layer in failing[:MOST_ROWS])


def _map(layer: LayerComparison, old: TraceReader, new: TraceReader) -> TokenMap:
    name = layer.hook_point
    sides = old.read(name), new.read(name)
    errors = metrics.token_errors(*sides)
    return TokenMap(
        hook_point=name,
        errors=tuple(float(f"{error:.3g}") for error in errors.tolist()),
        places=_places(name, layer.shape[0], old),
        elements=_worst_elements(*sides),
        statistics=_statistics(*sides),
    )


def _worst_elements(old: torch.Tensor, new: torch.Tensor) -> tuple[WorstElement, ...]:
    left, right = old.double(), new.double()
    difference = (left - right).abs().flatten()
    worst = difference.topk(min(MOST_ELEMENTS, difference.numel())).indices
    found = []
    for place in worst.tolist():
        index = tuple(int(i) for i in np.unravel_index(place, tuple(old.shape)))
        found.append(WorstElement(index, left[index].item(), right[index].item()))
    return tuple(found)


def _statistics(*sides: torch.Tensor) -> dict[str, tuple[float, float]]:
    old, new = (side.double() for side in sides)
    return {
        "mean": (old.mean().item(), new.mean().item()),
        "standard deviation": (old.std().item(), new.std().item()),
        "smallest": (old.min().item(), new.min().item()),
        "largest": (old.max().item(), new.max().item()),
    }


def _places(name: str, tokens: int, trace: TraceReader) -> tuple[int, ...]:
    """For each token its place in raster order over the images; () if unknown."""
    grids = trace.meta.grid_thw
    patches = sum(t * h * w for t, h, w in grids)
    if trace.meta.hyper_parameters.get("spatial_merge_size", MERGE) != MERGE:
        return tuple(range(tokens)) if tokens == patches else ()
    if any(size % MERGE for _, *sizes in grids for size in sizes):
        return ()
    cells = torch.arange(patches // CELL)
    if name not in IMAGE_ORDER and "window_index" in trace:
        cells = trace.read("window_index").long()
        if sorted(cells.tolist()) != list(range(patches // CELL)):
            return ()
    if tokens == patches // CELL:
        return tuple(cells.tolist())
    if tokens != patches:
        return ()
    return tuple(_raster(grids).view(-1, CELL)[cells].flatten().tolist())


def _raster(grids: Sequence[Grid]) -> torch.Tensor:
    """The place in raster order of each patch in the processors' order."""
    places, start = [], 0
    for t, h, w in grids:
        size = t * h * w
        whole = torch.arange(start, start + size)
        cells = whole.view(t, h // MERGE, MERGE, w // MERGE, MERGE)
        places.append(cells.transpose(2, 3).flatten())
        start += size
    return torch.cat(places)
