# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections import OrderedDict, defaultdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness_checks.bench.costs import Growth
from harness_checks.bench.measure import (
    BetweenProjections,
    count,
    growth,
    matrix_products,
)
from mmparity.encoders import npu_emulation
from mmparity.types.trace import PerBlock


class Block(nn.Module):
    def __init__(self, kept: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.kept = kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.sum().item()) > 1e9:  # a read
            return x
        lengths = torch.tensor([1, 2], device=x.device).cpu().tolist()  # another
        y = F.pad(self.linear(x), (0, lengths[0]))
        if self.kept is not None:
            self.kept.append(y)
        return torch.cat((y[:, :4], y[:, 4:8]), dim=1)


class Tower(nn.Module):
    def __init__(self, depth: int, kept: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(2, 8, 2, stride=2)
        self.blocks = nn.ModuleList(Block(kept) for _ in range(depth))
        self.by_size: dict[int, torch.Tensor] = {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) not in self.by_size:
            self.by_size[len(pixels)] = torch.zeros(len(pixels))
        x = self.patch_embed(pixels).flatten(1)
        for block in self.blocks:
            x = block(x)
        return x


def test_counts_are_of_one_block() -> None:
    tower, pixels = Tower(4), torch.randn(3, 2, 2, 2)
    found = count(tower, lambda: tower(pixels))
    calls = found.per_block.dispatches
    assert found.per_block == PerBlock(reads=2, pads=1, cats=1, dispatches=calls)
    assert 5 <= calls < found.calls
    assert len(tower.blocks) == 4
    assert found.calls > 4 * 4
    assert found.peak_bytes >= 3 * 9 * 4


def test_matrix_products_are_all_of_them_and_nothing_else() -> None:
    tower, pixels = Tower(3), torch.randn(5, 2, 2, 2)
    products = matrix_products(tower, lambda: tower(pixels))
    seen: list[tuple[torch.Size, torch.Size]] = []

    class Tap(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is F.linear:
                seen.append((args[0].shape, args[1].shape))
            return func(*args, **(kwargs or {}))

    with Tap():
        products()
    assert seen == [((5, 8), (8, 8))] * 4


def test_growth_sees_what_is_kept_by_size_and_by_call() -> None:
    def tower_growth(tower: Tower) -> Growth:
        def forward(grid: list[list[int]]):  # type: ignore[no-untyped-def]
            pixels = torch.randn(grid[0][1] * grid[0][2], 2, 2, 2)

            def run() -> None:
                with torch.inference_mode():
                    tower(pixels)

            return run

        return growth(tower, forward, sizes=10, forwards=50)

    kept: list[torch.Tensor] = []
    leaking, tidy = tower_growth(Tower(2, kept)), tower_growth(Tower(2))
    # Grids 2x2, 2x4, ... 2x20; the first is there before.
    assert tidy.bytes == sum(2 * width * 4 for width in range(4, 22, 2))
    assert len(kept) == 51
    assert leaking.objects >= 50 > abs(tidy.objects)


def test_attention_is_timed_without_its_linear_layers_and_without_the_rest() -> None:
    class Slow(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.2)
            return super().forward(x)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.inner = Slow(4, 4), nn.Softmax(-1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return self.inner(self.qkv(x))

    blocks = nn.ModuleList(
        nn.Sequential(OrderedDict(attn=Attention(), mlp=Slow(4, 4))) for _ in range(2)
    )
    tower = nn.Module()
    tower.blocks = blocks
    timer = BetweenProjections(tower)
    x = torch.zeros(1, 4)
    for block in blocks:
        block(x)
    assert 0.04 <= timer.seconds < 0.15
    timer.restart()
    assert timer.seconds == 0


def test_emulated_operators_are_not_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(1, 1)
            self.proj.forward = self.emulated  # as a quantised one

        def emulated(self, x: torch.Tensor) -> torch.Tensor:
            npu_emulation.seconds["npu_something"] += 100
            return x

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.emulated(self.proj(x))

    monkeypatch.setattr(npu_emulation, "seconds", defaultdict(float))
    tower = nn.Module()
    tower.blocks = nn.ModuleList([nn.Sequential(OrderedDict(attn=Attention()))])
    timer = BetweenProjections(tower)
    tower.blocks[0](torch.zeros(1))
    # The clock stood still while 200 s were emulated, 100 of them in a projection.
    assert timer.seconds == pytest.approx(-100, abs=1)
