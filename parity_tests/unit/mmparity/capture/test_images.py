# SPDX-License-Identifier: Apache-2.0
"""What ranks captured of their images -> the tensors of all images, in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmparity.capture.gather import gather_traces
from mmparity.capture.images import RESULT, whole_of
from mmparity.trace.layout import LayoutError
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta

GRIDS = ((1, 4, 4), (2, 2, 4), (1, 2, 2))
"""16, 16 and 4 patches."""
IMAGES = ((1,), (2, 0))
META = TraceMeta("unified", "image", "float32", "cpu", "w", "p", GRIDS[:1], depth=1)


def test_tokens_go_back_to_their_images() -> None:
    every = torch.arange(36)[:, None]
    first, second, third = every.split([16, 16, 4])
    tensors = [second, torch.cat((third, first))]
    assert torch.equal(whole_of("blocks.0.norm1", tensors, IMAGES, GRIDS), every)


def test_merged_tokens_are_a_quarter() -> None:
    every = torch.arange(9)[:, None]
    first, second, third = every.split([4, 4, 1])
    tensors = [second, torch.cat((third, first))]
    assert torch.equal(whole_of("merger.mlp.2", tensors, IMAGES, GRIDS), every)


def test_window_order_counts_from_the_first_image_of_all() -> None:
    tensors = [torch.tensor([2, 0, 1, 3]), torch.tensor([0, 4, 3, 2, 1])]
    found = whole_of("window_index", tensors, IMAGES, GRIDS)
    assert found.tolist() == [3, 2, 1, 0, 6, 4, 5, 7, 8]


def test_lengths_of_sequences_are_cut_where_an_image_ends() -> None:
    tensors = [torch.tensor([8, 8]), torch.tensor([4, 12, 4])]
    found = whole_of("blocks.0.seqlens", tensors, IMAGES, GRIDS)
    assert found.tolist() == [12, 4, 8, 8, 4]


def test_offsets_and_the_longest_are_those_of_all_images() -> None:
    tensors = [torch.tensor([0, 8, 16]), torch.tensor([0, 4, 16, 20])]
    found = whole_of("blocks.0.cu_seqlens", tensors, IMAGES, GRIDS)
    assert found.tolist() == [0, 12, 16, 24, 32, 36]
    longest = [torch.tensor([8]), torch.tensor([12])]
    assert whole_of("blocks.0.max_seqlen", longest, IMAGES, GRIDS).tolist() == [12]


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("blocks.0.norm1", [torch.ones(15, 1), torch.ones(20, 1)]),
        ("blocks.0.seqlens", [torch.tensor([16]), torch.tensor([8, 12])]),
        ("blocks.0.seqlens", [torch.tensor([16]), torch.tensor([4, 16, 4])]),
    ],
)
def test_tensors_of_other_images_are_refused(
    name: str, tensors: list[torch.Tensor]
) -> None:
    with pytest.raises(LayoutError, match="not of images"):
        whole_of(name, tensors, IMAGES, GRIDS)


def test_an_image_that_no_rank_has_is_missed() -> None:
    with pytest.raises(LayoutError, match=r"of 3 images, ranks have \[1\]"):
        whole_of("blocks.0.norm1", [torch.ones(16, 1)], ((1,),), GRIDS)


def rank(folder: Path, images: tuple[int, ...], result: torch.Tensor) -> Path:
    meta = replace(META, images=images)
    with TraceWriter(folder, meta) as writer:
        if images:
            writer.add("patch_embed", torch.ones(16, 1), "patch_embed")
        else:
            writer.unmatched("patch_embed", "not executed", explained=False)
        writer.add(RESULT, result, "(model)")
    return folder


def test_a_rank_without_images_only_has_the_result(tmp_path: Path) -> None:
    result = torch.ones(4, 2)
    folders = [rank(tmp_path / "a", (0,), result), rank(tmp_path / "b", (), result)]
    gather_traces(folders, tmp_path / "whole")
    trace = TraceReader(tmp_path / "whole")
    assert [record.hook_point for record in trace.records] == ["patch_embed", RESULT]
    assert trace.unmatched == () and trace.meta.images is None


def test_ranks_that_return_other_results_are_an_error(tmp_path: Path) -> None:
    folders = [
        rank(tmp_path / "a", (0,), torch.ones(4, 2)),
        rank(tmp_path / "b", (), torch.zeros(4, 2)),
    ]
    gather_traces(folders, tmp_path / "whole")
    record = TraceReader(tmp_path / "whole").record(RESULT)
    assert record.error == "ranks 0 and 1 differ where all are equal"
