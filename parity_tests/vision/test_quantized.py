# SPDX-License-Identifier: Apache-2.0
"""W8A8 by both names of the tower: vLLM's, and those of today's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mmparity.capture.job import CaptureJob, Job
from mmparity.errors import MmparityError
from mmparity.trace.reader import TraceReader
from mmparity.workload.seeded import seeded_checkpoint

if TYPE_CHECKING:
    from conftest import Captures

OLD, NEW = "visual.", "model.visual."


def traces(captures: Captures, name: str, *prefixes: str) -> list[TraceReader]:
    """An encoder's traces, with the names of its layers beginning with each prefix."""
    folder = captures.root / f"w8a8-{name}-{prefixes[0]}"
    folder.mkdir()
    items = [
        CaptureJob(
            "grids",
            captures.inputs,
            "bfloat16",
            str(folder / prefix),
            checkpoint=str(
                seeded_checkpoint(
                    captures.checkpoints,
                    depth=captures.depth,
                    quantized=True,
                    prefix=prefix,
                )
            ),
        )
        for prefix in prefixes
    ]
    trees = captures.trees(name)
    captures.work(Job(name, trees, "", tuple(items), depth=captures.depth), folder)
    return [TraceReader(folder / prefix) for prefix in prefixes]


def test_w8a8_by_either_name_equals_the_released_encoder_bit_for_bit(
    captures: Captures,
) -> None:
    (old,) = traces(captures, "ascend-0.12.0rc1", OLD)
    expected = {record.hook_point: record.digest for record in old.records}
    assert expected
    for new in traces(captures, "unified-ascend", OLD, NEW):
        assert new.meta.weights_digest == old.meta.weights_digest
        assert {r.hook_point: r.digest for r in new.records} == expected


def test_the_released_encoder_finds_no_layers_by_todays_names(
    captures: Captures,
) -> None:
    with pytest.raises(MmparityError, match=r"looks for 'visual\.blocks\.0\.attn"):
        traces(captures, "ascend-0.12.0rc1", NEW)
