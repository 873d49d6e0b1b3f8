# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from harness_checks.bench.clock import Clock
from harness_checks.bench.measure import BetweenProjections


class Queue:
    """A device that does nothing until it is waited for."""

    def __init__(self) -> None:
        self.given = self.done = 0.0
        queue = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = queue.given

            def elapsed_time(self, end: Event) -> float:
                assert queue.done >= end.at, "asked before the device was there"
                return 1000 * (end.at - self.at)

        self.Event = Event

    def work(self, seconds: float) -> None:
        self.given += seconds

    def synchronize(self) -> None:
        self.done = self.given


class Part(nn.Module):
    """Gives the device work; with a weight, as a linear layer has one."""

    def __init__(self, queue: Queue, seconds: float, weight: bool = False) -> None:
        super().__init__()
        self.queue, self.own = queue, seconds
        if weight:
            self.weight = nn.Parameter(torch.zeros(1))
        self.parts = nn.ModuleList()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.queue.work(self.own)
        return x


class Attention(Part):
    def __init__(self, queue: Queue) -> None:
        super().__init__(queue, 2.0)
        self.proj = Part(queue, 7.0, weight=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.proj(x))


def test_attention_on_a_device_is_timed_by_the_device() -> None:
    queue = Queue()
    tower = nn.Module()
    block = OrderedDict(attn=Attention(queue), mlp=Part(queue, 11.0))
    tower.blocks = nn.ModuleList([nn.Sequential(block)])
    clock = Clock(queue)
    timer = BetweenProjections(tower, clock)
    clock.seconds(lambda: tower.blocks[0](torch.zeros(1)))
    assert timer.seconds == pytest.approx(2.0)


def test_an_action_ends_when_the_device_is_idle() -> None:
    queue = Queue()
    queue.work(1)
    before: list[float] = []

    def action() -> None:
        before.append(queue.done)
        queue.work(3)

    Clock(queue).seconds(action)
    assert before == [1] and queue.done == 4


def test_the_host_needs_no_waiting() -> None:
    clock = Clock.of("cpu")
    start = clock.mark()
    assert 0 <= clock.between(start, clock.mark()) < 1
    assert clock.seconds(lambda: None) < 1
