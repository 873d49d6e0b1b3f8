# SPDX-License-Identifier: Apache-2.0
"""The traces of all ranks -> one trace, as an encoder on one device would make it.

By the rule that each hook point declares: what is sharded is put side by side,
what is replicated must be the same on all ranks, bit for bit. Where images are spread
over the ranks, each tensor is put together of its images instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mmparity.capture.images import is_whole, whole_of
from mmparity.errors import MmparityError
from mmparity.trace import hook_points
from mmparity.trace.layout import LayoutError
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TensorRecord

SAME = (
    "implementation",
    "case",
    "dtype",
    "depth",
    "weights_digest",
    "pixels_digest",
    "grid_thw",
    "sources",
    "tensor_parallel",
)
"""What the traces of all ranks say alike."""


def gather_traces(folders: Sequence[Path], out: Path) -> None:
    """Writes the trace that the ranks' traces make together."""
    ranks = [TraceReader(folder) for folder in folders]
    _check_same_run(ranks)
    busy = [rank for rank in ranks if rank.meta.images != ()]
    names = [[record.hook_point for record in rank.records] for rank in busy]
    for number, other in enumerate(names):
        if other != names[0]:
            differing = sorted(set(other) ^ set(names[0])) or ["their order"]
            raise MmparityError(
                f"ranks 0 and {number} did not capture the same: {differing[0]}."
            )
    seconds = [rank.meta.seconds for rank in ranks]
    known = [value for value in seconds if value is not None]
    meta = replace(
        ranks[0].meta,
        tensor_parallel=len(ranks),
        seconds=max(known) if len(known) == len(seconds) else None,
        images=None,
    )
    with TraceWriter(out, meta) as writer:
        for name in names[0]:
            having = ranks if is_whole(name) else busy
            record, tensor, error = _join(name, having)
            transforms = record.transforms
            if tuple(tensor.shape) != record.shape:
                transforms = (*transforms, "ranks_joined")
            writer.add(name, tensor, record.path, transforms, error)
        noted = {item.path: item for rank in reversed(busy) for item in rank.unmatched}
        for item in noted.values():
            writer.unmatched(item.path, item.reason, item.explained)


def _check_same_run(ranks: Sequence[TraceReader]) -> None:
    """Refuses traces of ranks that did not load and see the same."""
    for name in SAME:
        for number, rank in enumerate(ranks):
            here, first = getattr(rank.meta, name), getattr(ranks[0].meta, name)
            if here != first:
                raise MmparityError(
                    f"ranks 0 and {number} did not run the same: {name} is {first!r} "
                    f"and {here!r}."
                )


def _join(
    name: str, ranks: Sequence[TraceReader]
) -> tuple[TensorRecord, torch.Tensor, str | None]:
    """The first rank's record, the tensor of all ranks, and what is wrong with it."""
    records = [rank.record(name) for rank in ranks]
    tensors = [rank.read(name) for rank in ranks]
    for number, record in enumerate(records):
        if record.error:
            return records[0], tensors[0], f"on rank {number}: {record.error}"
    images = [rank.meta.images for rank in ranks]
    try:
        if images[0] is not None and not is_whole(name):
            grids = ranks[0].meta.grid_thw
            whole = whole_of(name, tensors, [seen or () for seen in images], grids)
        else:
            whole = _of_shards(hook_points.get(name), records, tensors)
    except LayoutError as error:
        return records[0], tensors[0], str(error)
    return records[0], whole, None


def _of_shards(
    point: hook_points.HookPoint,
    records: Sequence[TensorRecord],
    tensors: Sequence[torch.Tensor],
) -> torch.Tensor:
    if point.sharded is None:
        for number, record in enumerate(records):
            if record.digest != records[0].digest:
                raise LayoutError(f"ranks 0 and {number} differ where all are equal")
        return tensors[0]
    dim = point.sharded
    try:
        parts = [tensor.unflatten(dim, (point.parts, -1)) for tensor in tensors]
        return torch.cat(parts, dim + 1).flatten(dim, dim + 1)
    except (RuntimeError, ValueError) as error:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise LayoutError(
            f"the ranks' {shapes} cannot be put together: {error}"
        ) from error
