# SPDX-License-Identifier: Apache-2.0
"""Which reads count, where host and device are the same CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mmparity.encoders.counting import counted

HOST_DEVICE = torch.device("cpu")
HELD = torch.tensor([4, 2], dtype=torch.int32)
"""Made before, as what a tree keeps by image size."""


def lengths() -> torch.Tensor:
    """The same on the device."""
    return HELD.to(HOST_DEVICE)


@torch.library.custom_op("mmparity_test::by_lengths", mutates_args=())
def by_lengths(x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Sums of parts whose lengths it reads, as vLLM's wrapper of SDPA does."""
    return torch.stack([part.sum() for part in x.split(given.tolist())])


@torch.library.custom_op("mmparity_test::by_offsets", mutates_args=())
def by_offsets(x: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """The same by what it makes of the offsets."""
    sizes = torch.diff(ends, prepend=ends.new_zeros(1)).tolist()
    return torch.stack([part.sum() for part in x.split(sizes)])


@pytest.mark.parametrize(
    ("reads", "forward"),
    [
        (0, lambda: lengths() * 2),
        (1, lambda: lengths().tolist()),
        (1, lambda: lengths().cpu()),
        (1, lambda: lengths().cpu().numpy()),
        (1, lambda: lengths().to("cpu")),
        (1, lambda: lengths().to(device="cpu", dtype=torch.int64)),
        (0, lambda: lengths().to(HOST_DEVICE)),
        (0, lambda: lengths().to(torch.int64)),
        (1, lambda: lengths().max().item()),
        (2, lambda: lengths()[int(lengths()[0]) - 4 : lengths()[1]]),
        (1, lambda: lengths().cpu()[1:].tolist()),
        (2, lambda: [lengths().cpu() for _ in range(2)]),
        (0, lambda: HELD.cpu().tolist()),
        (0, lambda: torch.cat([HELD, torch.diff(HELD)]).cumsum(0).tolist()),
        (1, lambda: torch.cat([HELD, torch.diff(lengths())]).cumsum(0).tolist()),
        (1, lambda: (torch.ones(2) > 0).all().item()),
        (1, lambda: torch.arange(3, device=HOST_DEVICE).tolist()),
        (0, lambda: torch.arange(3, device="cpu").tolist()),
        (0, lambda: torch.from_numpy(np.array([4, 2])).tolist()),
        (0, lambda: torch.tensor([4, 2])[0].item()),
        (0, lambda: bool(torch.tensor(True))),
        (1, lambda: torch.from_numpy(np.array([4, 2])).to(HOST_DEVICE).tolist()),
        (1, lambda: torch.tensor([4, 2], device=HOST_DEVICE).tolist()),
        (1, lambda: by_lengths(torch.ones(6), lengths())),
        (0, lambda: by_lengths(torch.ones(6), torch.tensor([4, 2]))),
        (1, lambda: by_lengths(torch.ones(6), lengths().cpu())),
        (1, lambda: by_offsets(torch.ones(6), lengths().cumsum(0))),
        (0, lambda: by_offsets(torch.ones(6), HELD.cumsum(0))),
    ],
)
def test_a_read_is_what_waits_for_the_device(
    reads: int, forward: Callable[[], object]
) -> None:
    assert counted(forward).host_reads == reads


def test_what_is_counted_computes_the_same_and_leaves_torch_as_it_was() -> None:
    before = {name: getattr(torch, name) for name in ("tensor", "diff")}
    seen: list[object] = []
    counted(
        lambda: seen.append(by_lengths(torch.arange(6.0), lengths().cpu()).tolist())
    )
    assert seen == [[6.0, 9.0]]
    assert not {"cpu", "to", "tolist", "item", "__int__"} & vars(torch.Tensor).keys()
    assert {name: getattr(torch, name) for name in before} == before


def test_a_forward_that_raises_leaves_torch_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError):
        counted(lambda: 1 // 0)
    assert "cpu" not in vars(torch.Tensor)
