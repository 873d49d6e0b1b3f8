# SPDX-License-Identifier: Apache-2.0
"""Statistics of tokens are exact where they say so, and their estimates hold."""

from __future__ import annotations

import pytest
import torch

from mmparity.compare.metrics import sketch
from mmparity.compare.metrics.sketch import MISS, PROJECTIONS, Statistician, projections
from mmparity.compare.statistics import size_of_difference


@pytest.fixture
def statistician() -> Statistician:
    return Statistician()


def expected(tensor: torch.Tensor) -> torch.Tensor:
    rows = tensor.double().flatten(1)
    vectors = projections(rows.shape[1], torch.float64)
    ends = rows.norm(dim=1), rows.amin(1), rows.amax(1)
    return torch.cat([torch.stack(ends, 1), rows @ vectors], 1)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


VIEWS = {
    "whole": lambda x: x,
    "heads": lambda x: x.view(len(x), 5, -1),
    "columns of a wider one": lambda x: x[:, 100:1400],
    "rows apart": lambda x: x[::3],
    "transposed": lambda x: x.t(),
    "one row": lambda x: x[:1],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_statistics_are_those_of_float64(
    statistician: Statistician, view: str, dtype: str
) -> None:
    tensor = VIEWS[view](drawn(61, 2500).to(getattr(torch, dtype)))
    found, wanted = statistician.of(tensor), expected(tensor)
    assert found.dtype == torch.float32
    assert torch.equal(found[:, 1:3].double(), wanted[:, 1:3].float().double())
    scale = wanted[:, :1]
    assert ((found - wanted).abs() / scale).max() < 3e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tensor_of_several_tiles_has_the_same_statistics(
    statistician: Statistician, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = drawn(77, 300).to(dtype).repeat(1, 2)[:, ::2]
    monkeypatch.setattr(sketch, "TILE", 2000)
    found, wanted = statistician.of(tensor), expected(tensor)
    assert ((found - wanted).abs() / wanted[:, :1]).max() < 3e-6
    assert max(room.numel() for room in statistician._room.values()) <= 2000


def test_the_tensor_may_change_afterwards(statistician: Statistician) -> None:
    tensor = drawn(300, 400)
    before = tensor.clone()
    found = statistician.of(tensor)
    tensor.zero_()
    assert torch.equal(found, statistician.of(before))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_not_finite_shows_in_its_token_alone(
    statistician: Statistician, value: float, dtype: torch.dtype
) -> None:
    tensor = drawn(8, 1500).to(dtype)
    tensor[5, 1100] = value
    finite = statistician.of(tensor)[:, 0].isfinite()
    assert finite.tolist() == [True] * 5 + [False] + [True] * 2


def differences(width: int) -> dict[str, torch.Tensor]:
    """Of many shapes, each of size 1."""
    one, two, all_ = torch.zeros(width), torch.zeros(width), torch.ones(width)
    one[width // 3] = 1
    two[width // 3], two[width // 2] = 1, -1
    noise = drawn(width, seed=3)
    return {
        name: given / given.norm()
        for name, given in (("1", one), ("2", two), ("all", all_), ("noise", noise))
    }


@pytest.mark.parametrize("kind", ["1", "2", "all", "noise"])
def test_no_more_than_one_estimate_in_1000_is_too_small_for_its_band(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, trials = 64, 2000
    difference = differences(width)[kind].double()
    vectors = torch.cat(
        [projections(width + n, torch.float64)[:width].T for n in range(trials)]
    )
    squares = (vectors @ difference).square().view(trials, PROJECTIONS)
    estimated = squares.mean(1).sqrt()
    missed = (MISS * estimated < 1).double().mean()
    assert missed < 0.004  # 0.001 and four standard deviations
    assert abs(squares.mean() - 1) < 0.05


def test_norms_and_ends_bound_the_difference_from_below() -> None:
    old = torch.zeros(2, 3 + PROJECTIONS, dtype=torch.float64)
    new = old.clone()
    new[0, 0], new[1, 2] = 2.0, 5.0  # a sketch that cancels, but a norm and a maximum
    assert size_of_difference(old, new).tolist() == [2.0, 5.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_devices_passes_give_the_statistics_of_the_compiled_one(
    dtype: torch.dtype,
) -> None:
    tensor = drawn(37, 2500).to(dtype)
    by_torch, by_pass = (torch.empty(37, sketch.COLUMNS) for _ in range(2))
    vectors = projections(2500, dtype)
    sketch._by_torch(tensor, vectors, by_torch)
    sketch._by_pass(tensor, vectors, by_pass)
    assert torch.equal(by_torch[:, 1:3], by_pass[:, 1:3])
    assert ((by_torch - by_pass).abs() / by_torch[:, :1]).max() < 3e-6
