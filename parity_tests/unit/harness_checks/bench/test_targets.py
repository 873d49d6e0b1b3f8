# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from harness_checks.bench.targets import Target, ratio, targets


def measured(**changes: Any) -> dict[str, Any]:
    item = {
        "title": "one image, 48x48",
        "seconds": [1.0, 0.8],
        "gemm_seconds": 0.7,
        "calls": [1000, 200],
        "peak_bytes": [100, 90],
    }
    counts = {"reads": 0, "pads": 0, "cats": 0}
    one = {
        "old": "vllm-0.12.0",
        "new": "unified",
        "dtype": "bfloat16",
        "load_seconds": [1.0, 1.0],
        "load_bytes": [10, 10],
        "per_block": [{"reads": 1, "pads": 3, "cats": 1}, counts],
        "inputs": [item],
    }
    return one | changes


def missed(*given: dict[str, Any], growth: dict[str, Any] | None = None) -> list[str]:
    return [target.what for target in targets(given, growth) if not target.met]


def test_a_result_within_all_targets_misses_none() -> None:
    assert missed(measured()) == []
    assert len(targets([measured()], None)) == 5


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("seconds", [1.0, 0.95], "time"),
        ("gemm_seconds", 0.1, "time over its GEMMs"),
        ("calls", [1000, 300], "dispatches"),
        ("peak_bytes", [1000, 1001], "peak memory"),
    ],
)
def test_each_figure_over_its_target_is_named(
    field: str, value: Any, what: str
) -> None:
    item = {**measured()["inputs"][0], field: value}
    name = "unified / vllm-0.12.0, bfloat16, one image, 48x48"
    assert missed(measured(inputs=[item])) == [f"{name}: {what}"]


def test_host_reads_and_pads_are_targets_of_the_ascend_path() -> None:
    counts = [{"reads": 1, "pads": 3, "cats": 1}, {"reads": 1, "pads": 2, "cats": 0}]
    one = measured(old="ascend-0.11.0", new="unified-ascend", per_block=counts)
    name = "unified-ascend / ascend-0.11.0, bfloat16"
    assert missed(one) == [f"{name}: host reads per block", f"{name}: pads per block"]


def test_padded_loading_is_held_against_unpadded() -> None:
    one = measured(new="unified-ascend-weights", load_seconds=[1.0, 1.2])
    name = "unified-ascend-weights / vllm-0.12.0, bfloat16"
    assert missed(one) == [f"{name}: load time"]


def test_growth_is_held_against_a_constant() -> None:
    growth = {"sizes": 1000, "forwards": 2000, "old": {"bytes": 1, "objects": 1}}
    grown = {**growth, "new": {"bytes": 1 << 30, "objects": 4000}}
    assert len(missed(measured(), growth=grown)) == 2
    assert missed(growth={**growth, "new": {"bytes": 0, "objects": 0}}) == []


def test_ratio_over_nothing() -> None:
    assert ratio([0, 0]) == 1
    assert ratio([0, 2]) == float("inf")
    assert not Target("nothing measured", float("nan"), 1).met
