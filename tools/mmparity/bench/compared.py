# SPDX-License-Identifier: Apache-2.0
"""An old trace that differs everywhere and passes, and the comparison with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmparity.against import ComparingWriter
from mmparity.capture import capturing
from mmparity.encoders import Encoder
from mmparity.tracefile import TraceReader, TraceWriter
from mmparity.types import TraceMeta

OLD = "old"


def meta_of(encoder: Encoder) -> TraceMeta:
    """Of a trace of the tower at hand."""
    depth = len(encoder.model.blocks)  # type: ignore[arg-type]
    return TraceMeta("hf", "bench", "bfloat16", "cpu", "", "", (), depth)


@contextmanager
def trace(encoder: Encoder, folder: Path) -> Iterator[None]:
    """A trace of all hook points, as ``mmparity capture`` writes it."""
    meta = meta_of(encoder)
    with (
        TraceWriter(folder, meta, kept=True) as writer,
        capturing(encoder, meta.depth, writer),
    ):
        yield


def write_old(encoder: Encoder, forward: Callable[[], None], folder: Path) -> None:
    """Old's trace, with first weights that differ in their last digit.

    No later tensor has the same bits then on both sides.
    """
    weights = next(encoder.model.parameters())
    kept = weights.clone()
    weights.mul_(1.003)
    with trace(encoder, folder / OLD):
        forward()
    weights.copy_(kept)


@contextmanager
def against(encoder: Encoder, folder: Path) -> Iterator[None]:
    """As ``mmparity capture --against`` does it; old is in a folder above."""
    meta = meta_of(encoder)
    old = TraceReader(folder.parent.parent / OLD)
    with (
        ComparingWriter(folder, meta, old) as writer,
        capturing(encoder, meta.depth, writer),
    ):
        yield
    assert not list(folder.glob("*.safetensors")), "rows fail: their tensors are kept"
