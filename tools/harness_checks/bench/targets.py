# SPDX-License-Identifier: Apache-2.0
"""What the series has to cost, and whether the measured results keep to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness_checks.bench.costs import PairCost, PairGrowth

CACHE_BYTES = 64 << 20
"""What the patched encoder may keep of image sizes seen."""
OVER_BASE = {"bfloat16": 0.90, "float32": 0.97}
OVER_GEMMS = {"bfloat16": 1.5, "float32": 1.12}
OVER_ASCEND = 0.9
FEWER_CALLS = 0.25
PADDED_LOAD = 1.1
WINDOWS = "one image, 48x48"
"""The input that the targets of time and calls were set on."""


@dataclass(frozen=True)
class Target:
    """One figure and the most that it may be."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the figure, to three decimals, is within the limit; NaN is not."""
        return round(self.value, 3) <= self.limit


def ratio(pair: Sequence[float]) -> float:
    """New over old; infinite over nothing, one where both are nothing."""
    old, new = pair
    return new / old if old else (1.0 if new == old else float("inf"))


def targets(measured: Sequence[PairCost], growth: PairGrowth | None) -> list[Target]:
    """Every target that the results say something about."""
    return [
        *(target for one in measured for target in _of_pair(one)),
        *(_of_growth(growth) if growth else ()),
    ]


def _of_pair(one: PairCost) -> Iterator[Target]:
    old, new, dtype = one.old, one.new, one.dtype
    name = f"{new} / {old}, {dtype}"
    if new == "unified-ascend-weights":
        yield Target(f"{name}: load time", ratio(one.load_seconds), PADDED_LOAD)
        yield Target(f"{name}: load memory", ratio(one.load_bytes), PADDED_LOAD)
        for what in ("pads", "cats"):
            value = getattr(one.per_block[1], what)
            yield Target(f"{name}: {what} per block", value, 0)
        return
    base = old == "vllm-0.12.0"
    for item in one.inputs:
        where = f"{name}, {item.title}"
        limit = OVER_BASE[dtype] if base else OVER_ASCEND
        if item.title != WINDOWS:
            limit = 1.0
        yield Target(f"{where}: time", ratio(item.seconds), limit)
        yield Target(f"{where}: peak memory", ratio(item.peak_bytes), 1.0)
        if base and item.title == WINDOWS:
            gemms = item.gemm_seconds
            over = item.seconds[1] / gemms if gemms else float("nan")
            yield Target(f"{where}: time over its GEMMs", over, OVER_GEMMS[dtype])
            yield Target(f"{where}: dispatches", ratio(item.calls), FEWER_CALLS)
    counts = one.per_block[1]
    yield Target(f"{name}: host reads per block", counts.reads, 0)
    if not base:
        yield Target(f"{name}: pads per block", counts.pads, 1)


def _of_growth(growth: PairGrowth) -> Iterator[Target]:
    old, new, forwards = growth.old, growth.new, growth.forwards
    what = f"bytes kept after {growth.sizes} image sizes"
    yield Target(f"{what}, {old.bytes:,} unpatched", new.bytes, CACHE_BYTES)
    what = f"objects kept after {forwards} forwards"
    yield Target(f"{what}, {old.objects:,} unpatched", new.objects, forwards // 100)
