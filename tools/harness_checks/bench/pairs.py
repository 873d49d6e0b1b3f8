# SPDX-License-Identifier: Apache-2.0
"""An encoder and the one that it replaces, asked in turn, in several processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import ceil
from typing import Any

from harness_checks.bench.costs import (
    ForwardCounts,
    Growth,
    InputCost,
    PairCost,
    PairGrowth,
)
from harness_checks.bench.sides import Setting, SideWorker, sides
from harness_checks.bench.targets import WINDOWS, ratio
from mmparity.types.trace import PerBlock

GRIDS: dict[str, list[list[int]]] = {
    "one image, 48x48": [[1, 48, 48]],
    "one image, 96x96": [[1, 96, 96]],
    "32 images, 12x16": [[1, 12, 16]] * 32,
}
GROWING = ("vllm-0.12.0", "unified")
PROCESSES = 3
"""So many pairs of processes share the repeats: where weights lie is a draw as well."""
Start = Callable[[Sequence[str], Setting], AbstractContextManager[list[SideWorker]]]
BothCounts = tuple[ForwardCounts, ForwardCounts]
Timings = dict[str, dict[str, list[float]]]
"""Title of an input, or ``load`` -> figure -> old's and new's."""


def measure_pair(
    pair: tuple[str, str],
    setting: Setting,
    repeats: int,
    processes: int,
    say: Callable[[str], None],
    start: Start = sides,
) -> PairCost:
    """Everything about ``pair``, old and new, in one run."""
    titles = list(GRIDS) if pair == GROWING else [WINDOWS]
    timings: list[Timings] = []
    counts: dict[str, BothCounts] = {}
    for number in range(processes):
        in_order = pair if number % 2 == 0 else pair[::-1]
        with start(in_order, setting) as workers:
            old, new = workers if in_order == pair else workers[::-1]
            often = ceil(repeats / processes)
            timed = time_pair(old, new, titles, often, setting.seconds)
            counts = counts or count_pair(old, new, titles)
        timings.append(timed)
        found = ", ".join(f"{ratio(timed[title]['seconds']):.3f}" for title in titles)
        say(f"  processes {number + 1} of {processes}: {found}")
    return least_of_all(pair, setting.dtype, counts, timings)


def measure_growth(
    setting: Setting, sizes: int, forwards: int, start: Start = sides
) -> PairGrowth:
    """What stays after many image sizes and many forwards, on both sides."""
    found = []
    with start(GROWING, setting) as workers:
        for side in workers:
            side.ask(ask="load")
            answer = side.ask(ask="growth", sizes=sizes, forwards=forwards)
            found.append(Growth(**answer))
    old, new = found
    return PairGrowth(sizes, forwards, old, new)


def interleaved(
    asked: Sequence[tuple[SideWorker, Mapping[str, Any]]], repeats: int, seconds: float
) -> list[dict[str, float]]:
    """Minima of the figures that each question is answered with, asked in turn.

    What is short is asked more often, for so many ``seconds``: a machine's moods last
    for some.
    """
    best: list[dict[str, float]] = [{} for _ in asked]
    end = time.monotonic() + seconds
    while repeats > 0 or time.monotonic() < end:
        repeats -= 1
        for least, (side, question) in zip(best, asked, strict=True):
            answer = side.ask(**question)
            least |= {k: min(v, least.get(k, v)) for k, v in answer.items()}
    return best


def time_pair(
    old: SideWorker,
    new: SideWorker,
    titles: Sequence[str],
    repeats: int,
    seconds: float,
) -> Timings:
    """Old's and new's least, of loading and of the forward of each title.

    Where the matrix products of a title are timed, it has ``gemm_seconds``.
    """
    load = {"ask": "load"}
    loads = [side.ask(**load)["bytes"] for side in (old, new)]
    again = interleaved([(old, load), (new, load)], 1, seconds)
    found = {"load": {"bytes": loads, "seconds": [one["seconds"] for one in again]}}
    for title in titles:
        timed = {"ask": "time", "grid": GRIDS[title]}
        asked = [(old, timed), (new, timed)]
        if title == WINDOWS:
            asked.append((new, {**timed, "ask": "gemms"}))
        least = interleaved(asked, repeats, seconds)
        found[title] = {
            "seconds": [one["seconds"] for one in least[:2]],
            "attention_seconds": [one["attention"] for one in least[:2]],
            "gemm_seconds": [one["seconds"] for one in least[2:]],
        }
    return found


def count_pair(
    old: SideWorker, new: SideWorker, titles: Sequence[str]
) -> dict[str, BothCounts]:
    """What the forward of each title calls, on old and on new."""
    return {
        title: (_counts(old, GRIDS[title]), _counts(new, GRIDS[title]))
        for title in titles
    }


def _counts(side: SideWorker, grid: list[list[int]]) -> ForwardCounts:
    answer = side.ask(ask="count", grid=grid)
    return ForwardCounts(**{**answer, "per_block": PerBlock(**answer["per_block"])})


def least_of_all(
    pair: tuple[str, str],
    dtype: str,
    counts: Mapping[str, BothCounts],
    timings: Sequence[Timings],
) -> PairCost:
    """The counts of a pair, and the least of all its processes."""
    first_old, first_new = next(iter(counts.values()))
    return PairCost(
        *(*pair, dtype),
        per_block=(first_old.per_block, first_new.per_block),
        load_seconds=_least(timings, "load", "seconds"),
        load_bytes=_least(timings, "load", "bytes"),
        inputs=tuple(_input(title, *both, timings) for title, both in counts.items()),
    )


def _input(
    title: str, old: ForwardCounts, new: ForwardCounts, timings: Sequence[Timings]
) -> InputCost:
    gemms = [one[title]["gemm_seconds"] for one in timings]
    return InputCost(
        title=title,
        calls=(old.calls, new.calls),
        peak_bytes=(old.peak_bytes, new.peak_bytes),
        seconds=_least(timings, title, "seconds"),
        attention_seconds=_least(timings, title, "attention_seconds"),
        gemm_seconds=min(one[0] for one in gemms) if all(gemms) else None,
        ratios=tuple(sorted(ratio(one[title]["seconds"]) for one in timings)),
    )


def _least(timings: Sequence[Timings], title: str, name: str) -> tuple[float, float]:
    """Old's and new's."""
    old, new = zip(*(one[title][name] for one in timings), strict=True)
    return min(old), min(new)
