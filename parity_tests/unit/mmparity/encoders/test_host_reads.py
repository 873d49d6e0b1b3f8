# SPDX-License-Identifier: Apache-2.0
"""Which reads count, where host and device are the same CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mmparity.encoders.counting import counted

HOST_DEVICE = torch.device("cpu")
LENGTHS = torch.tensor([4, 2], dtype=torch.int32)


@torch.library.custom_op("mmparity_test::by_lengths", mutates_args=())
def by_lengths(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums of parts whose lengths it reads, as vLLM's wrapper of SDPA does."""
    return torch.stack([part.sum() for part in x.split(lengths.tolist())])


@pytest.mark.parametrize(
    ("reads", "forward"),
    [
        (0, lambda: LENGTHS * 2),
        (1, lambda: LENGTHS.tolist()),
        (1, lambda: LENGTHS.cpu()),
        (1, lambda: LENGTHS.cpu().numpy()),
        (1, lambda: LENGTHS.to("cpu")),
        (1, lambda: LENGTHS.to(device="cpu", dtype=torch.int64)),
        (0, lambda: LENGTHS.to(HOST_DEVICE)),
        (0, lambda: LENGTHS.to(torch.int64)),
        (1, lambda: LENGTHS.max().item()),
        (2, lambda: LENGTHS[int(LENGTHS[0]) - 4 : LENGTHS[1]]),
        (1, lambda: LENGTHS.cpu()[1:].tolist()),
        (2, lambda: [LENGTHS.cpu() for _ in range(2)]),
        (0, lambda: torch.from_numpy(np.array([4, 2])).tolist()),
        (0, lambda: torch.tensor([4, 2])[0].item()),
        (0, lambda: bool(torch.tensor(True))),
        (1, lambda: torch.from_numpy(np.array([4, 2])).to(HOST_DEVICE).tolist()),
        (1, lambda: torch.tensor([4, 2], device=HOST_DEVICE).tolist()),
        (1, lambda: by_lengths(torch.ones(6), LENGTHS)),
        (0, lambda: by_lengths(torch.ones(6), torch.tensor([4, 2]))),
        (1, lambda: by_lengths(torch.ones(6), LENGTHS.cpu())),
    ],
)
def test_a_read_is_what_waits_for_the_device(
    reads: int, forward: Callable[[], object]
) -> None:
    assert counted(forward).host_reads == reads


def test_what_is_counted_computes_the_same_and_leaves_torch_as_it_was() -> None:
    before = {name: getattr(torch, name) for name in ("tensor", "from_numpy")}
    seen: list[object] = []
    counted(lambda: seen.append(by_lengths(torch.arange(6.0), LENGTHS.cpu()).tolist()))
    assert seen == [[6.0, 9.0]]
    assert not {"cpu", "to", "tolist", "item", "__int__"} & vars(torch.Tensor).keys()
    assert {name: getattr(torch, name) for name in before} == before


def test_a_forward_that_raises_leaves_torch_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError):
        counted(lambda: 1 // 0)
    assert "cpu" not in vars(torch.Tensor)
