# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness_checks.bench.costs import (
    Growth,
    InputCost,
    PairCost,
    PairGrowth,
)
from harness_checks.bench.targets import Target, ratio, targets
from mmparity.types.trace import PerBlock

ITEM = InputCost(
    title="one image, 48x48",
    calls=(1000, 200),
    peak_bytes=(100, 90),
    seconds=(1.0, 0.8),
    attention_seconds=(0.1, 0.1),
    gemm_seconds=0.7,
    ratios=(0.8,),
)
PAIR = PairCost(
    *("vllm-0.12.0", "unified", "bfloat16"),
    per_block=(PerBlock(1, 3, 1), PerBlock(0, 0, 0)),
    load_seconds=(1.0, 1.0),
    load_bytes=(10, 10),
    inputs=(ITEM,),
)


def missed(*given: PairCost, growth: PairGrowth | None = None) -> list[str]:
    return [target.what for target in targets(given, growth) if not target.met]


def test_a_result_within_all_targets_misses_none() -> None:
    assert missed(PAIR) == []
    assert len(targets([PAIR], None)) == 5


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("seconds", (1.0, 0.95), "time"),
        ("gemm_seconds", 0.1, "time over its GEMMs"),
        ("calls", (1000, 300), "dispatches"),
        ("peak_bytes", (1000, 1001), "peak memory"),
    ],
)
def test_each_figure_over_its_target_is_named(
    field: str, value: Any, what: str
) -> None:
    item = replace(ITEM, **{field: value})
    name = "unified / vllm-0.12.0, bfloat16, one image, 48x48"
    assert missed(replace(PAIR, inputs=(item,))) == [f"{name}: {what}"]


def test_host_reads_and_pads_are_targets_of_the_ascend_path() -> None:
    counts = (PerBlock(1, 3, 1), PerBlock(1, 2, 0))
    one = replace(PAIR, old="ascend-0.11.0", new="unified-ascend", per_block=counts)
    name = "unified-ascend / ascend-0.11.0, bfloat16"
    assert missed(one) == [f"{name}: host reads per block", f"{name}: pads per block"]


def test_padded_loading_is_held_against_unpadded() -> None:
    one = replace(PAIR, new="unified-ascend-weights", load_seconds=(1.0, 1.2))
    name = "unified-ascend-weights / vllm-0.12.0, bfloat16"
    assert missed(one) == [f"{name}: load time"]


def test_growth_is_held_against_a_constant() -> None:
    grown = PairGrowth(1000, 2000, old=Growth(1, 1), new=Growth(1 << 30, 4000))
    assert len(missed(PAIR, growth=grown)) == 2
    assert missed(growth=replace(grown, new=Growth(0, 0))) == []


def test_ratio_over_nothing() -> None:
    assert ratio([0, 0]) == 1
    assert ratio([0, 2]) == float("inf")
    assert not Target("nothing measured", float("nan"), 1).met
