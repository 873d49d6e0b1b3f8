# SPDX-License-Identifier: Apache-2.0
"""Pieces are put side by side in memory that is used again."""

from __future__ import annotations

import pytest
import torch

from mmparity import joined
from mmparity.joined import Joined


def test_sequences_of_any_length_follow_each_other() -> None:
    pieces = Joined(0)
    for turn in range(2):
        parts = [torch.rand(size, 3) + turn for size in (1, 4, 2, 9)]
        expected = torch.cat(parts)
        for part in parts:
            assert pieces.append(part, 1) is None
            part += 100  # the next call may change it
        assert torch.equal(pieces.whole(), expected)
        pieces.clear()


def test_parts_lie_side_by_side_in_one_piece_of_memory() -> None:
    pieces = Joined(-1)
    parts = torch.rand(2, 5, 3)
    for part in parts:
        pieces.append(part, 2)
    assert torch.equal(pieces.whole(), torch.cat(tuple(parts), -1))
    assert pieces.whole().is_contiguous()


def test_a_piece_that_does_not_fit_is_an_error_and_is_not_stretched() -> None:
    pieces = Joined(0)
    pieces.append(torch.rand(2, 3), 1)
    assert pieces.append(torch.rand(2, 1), 1) == (
        "a piece [2, 1] does not fit its neighbours"
    )
    assert pieces.append(torch.rand(2, 3).double(), 1) is not None
    assert len(pieces.whole()) == 2


@pytest.mark.parametrize("small", [0, 1 << 20])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int32", "bool"])
def test_pieces_of_any_dtype_and_stride_keep_their_bits(
    dtype: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "SMALL", small)
    heads = (torch.rand(2, 7, 3) * 9).to(getattr(torch, dtype))
    pieces = Joined(0)
    for part in heads.transpose(0, 1).split(3):
        assert pieces.append(part, 3) is None
    assert torch.equal(pieces.whole(), heads.transpose(0, 1))
