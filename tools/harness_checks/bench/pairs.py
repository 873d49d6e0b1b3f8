# SPDX-License-Identifier: Apache-2.0
"""An encoder and the one that it replaces, asked in turn, in several processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from harness_checks.bench.sides import Setting, Side, sides
from harness_checks.bench.targets import WINDOWS, ratio

GRIDS: dict[str, list[list[int]]] = {
    "one image, 48x48": [[1, 48, 48]],
    "one image, 96x96": [[1, 96, 96]],
    "32 images, 12x16": [[1, 12, 16]] * 32,
}
GROWING = ("vllm-0.12.0", "unified")
PROCESSES = 3
"""So many pairs of processes share the repeats: where weights lie is a draw as well."""
SECONDS = 8.0
"""So long at least a pair of processes is asked the same questions."""


def measure_pair(
    pair: tuple[str, str],
    setting: Setting,
    repeats: int,
    processes: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Everything about ``pair``, old and new, in one run.

    Returns:
        ``old``, ``new``, ``dtype``, and what ``joined`` returns.
    """
    titles = list(GRIDS) if pair == GROWING else [WINDOWS]
    timings, counts = [], None
    for number in range(processes):
        in_order = pair if number % 2 == 0 else pair[::-1]
        with sides(in_order, setting) as workers:
            old, new = workers if in_order == pair else workers[::-1]
            timed = time_pair(old, new, titles, ceil(repeats / processes))
            counts = counts or count_pair(old, new, titles)
        timings.append(timed)
        found = ", ".join(f"{ratio(timed[title]['seconds']):.3f}" for title in titles)
        say(f"  processes {number + 1} of {processes}: {found}")
    assert counts is not None
    names = {"old": pair[0], "new": pair[1], "dtype": setting.dtype}
    return {**names, **joined(counts, timings)}


def measure_growth(setting: Setting, sizes: int, forwards: int) -> dict[str, Any]:
    """What stays after many image sizes and many forwards, on both sides."""
    question = {"ask": "growth", "sizes": sizes, "forwards": forwards}
    result: dict[str, Any] = {"sizes": sizes, "forwards": forwards}
    with sides(GROWING, setting) as workers:
        for name, side in zip(("old", "new"), workers, strict=True):
            side.ask(ask="load")
            result[name] = side.ask(**question)
    return result


def interleaved(
    asked: Sequence[tuple[Side, dict[str, Any]]], repeats: int
) -> list[dict[str, float]]:
    """Minima of the figures that each question is answered with, asked in turn.

    What is short is asked more often: a machine's moods last for some seconds.
    """
    best: list[dict[str, float]] = [{} for _ in asked]
    end = time.monotonic() + SECONDS
    while repeats > 0 or time.monotonic() < end:
        repeats -= 1
        for least, (side, question) in zip(best, asked, strict=True):
            answer = side.ask(**question)
            least |= {k: min(v, least.get(k, v)) for k, v in answer.items()}
    return best


def time_pair(
    old: Side, new: Side, titles: Sequence[str], repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Old's and new's least, of loading and of the forward of each title.

    Where the matrix products of a title are timed, it has ``gemm_seconds``.
    """
    load = {"ask": "load"}
    loads = [side.ask(**load)["bytes"] for side in (old, new)]
    again = interleaved([(old, load), (new, load)], 1)
    found = {"load": {"bytes": loads, "seconds": [one["seconds"] for one in again]}}
    for title in titles:
        timed = {"ask": "time", "grid": GRIDS[title]}
        asked = [(old, timed), (new, timed)]
        if title == WINDOWS:
            asked.append((new, {**timed, "ask": "gemms"}))
        least = interleaved(asked, repeats)
        found[title] = {
            "seconds": [one["seconds"] for one in least[:2]],
            "attention_seconds": [one["attention"] for one in least[:2]],
            "gemm_seconds": [one["seconds"] for one in least[2:]],
        }
    return found


def count_pair(old: Side, new: Side, titles: Sequence[str]) -> dict[str, Any]:
    """What the forward of each title calls, of which the first title's by block."""
    result: dict[str, Any] = {"inputs": []}
    for title in titles:
        counts = [side.ask(ask="count", grid=GRIDS[title]) for side in (old, new)]
        result.setdefault("per_block", [one["per_block"] for one in counts])
        calls, peaks = ([one[k] for one in counts] for k in ("calls", "peak_bytes"))
        result["inputs"].append({"title": title, "calls": calls, "peak_bytes": peaks})
    return result


def joined(
    counts: dict[str, Any], timings: Sequence[dict[str, dict[str, list[float]]]]
) -> dict[str, Any]:
    """The counts of a pair, and the least of all its processes.

    Returns:
        ``load_seconds`` and ``load_bytes``, old's and new's; ``per_block``, the counts
        of ``count_pair``; and ``inputs``, for each title ``seconds``,
        ``attention_seconds``, ``gemm_seconds``, ``calls``, ``peak_bytes`` and the
        ``ratios`` of each pair of processes.
    """

    def least(title: str, name: str) -> list[float]:
        return [
            min(values)
            for values in zip(*(one[title][name] for one in timings), strict=True)
        ]

    inputs = []
    for item in counts["inputs"]:
        title = item["title"]
        gemms = least(title, "gemm_seconds")
        timed = {
            "seconds": least(title, "seconds"),
            "attention_seconds": least(title, "attention_seconds"),
            "gemm_seconds": gemms[0] if gemms else None,
            "ratios": sorted(ratio(one[title]["seconds"]) for one in timings),
        }
        inputs.append({**item, **timed})
    load = {f"load_{name}": least("load", name) for name in ("seconds", "bytes")}
    return {**counts, **load, "inputs": inputs}
