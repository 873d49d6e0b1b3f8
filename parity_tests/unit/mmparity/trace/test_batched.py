# SPDX-License-Identifier: Apache-2.0
"""Layouts with a batch, brought to tokens first and back."""

from __future__ import annotations

import pytest
import torch

from mmparity.trace.layout import HeadGeometry, LayoutError, execute, invert, plan

GEOMETRY = HeadGeometry(num_heads=2, head_size=4)


def moved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The canonical tensor; its way back must give what there was."""
    shape = tuple(tensor.shape)
    steps = plan((name,), shape, GEOMETRY)
    found = execute(tensor, steps)
    assert torch.equal(invert(found, steps, shape), tensor)
    return found


def test_batches_lie_one_after_the_other() -> None:
    tensor = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(moved("tokens", tensor), torch.cat(list(tensor)))


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 2, 4), (6, 8), (6, 2, 4)])
def test_heads_may_be_apart_or_side_by_side(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(48.0).view(shape)
    assert torch.equal(moved("heads", tensor), tensor.reshape(6, 2, 4))


@pytest.mark.parametrize("shape", [(2, 2, 3, 4), (2, 3, 4)])
def test_heads_before_tokens_come_after_them(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(48.0)[: torch.Size(shape).numel()].view(shape)
    rows = tensor if len(shape) == 4 else tensor[None]
    expected = torch.cat([row.transpose(0, 1) for row in rows])
    assert torch.equal(moved("heads_last", tensor), expected)


def test_an_image_is_read_row_by_row() -> None:
    tensor = torch.arange(24.0).view(1, 4, 2, 3)
    found = moved("channels_last", tensor)
    assert found.shape == (6, 4)
    assert torch.equal(found[4], tensor[0, :, 1, 1])


@pytest.mark.parametrize(
    ("name", "shape"),
    [("tokens", (3,)), ("heads", (6, 7)), ("heads_last", (2, 3)),
     ("channels_last", (2, 3))],
)  # fmt: skip
def test_another_layout_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(LayoutError, match=r"is not|has no|is neither"):
        plan((name,), shape, GEOMETRY)
