# SPDX-License-Identifier: Apache-2.0
"""Towers beside Qwen-VL's: released and with the series, and against the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.compare.case import compare_traces
from mmparity.compare.evidence.structure import differences
from mmparity.compare.rows import Standard
from mmparity.encoders import hook_map
from mmparity.trace import hook_points
from mmparity.trace.reader import TraceReader
from mmparity.workload.implementations import get
from mmparity.workload.models import FAMILIES
from mmparity.workload.pairs import TOWER_PAIRS, expected_of
from mmparity.workload.towers import TOWERS

if TYPE_CHECKING:
    from conftest import Towers

NAMES = tuple(TOWERS)
WITH_ORACLE = tuple(name for name, tower in TOWERS.items() if tower.oracle)
LOOSENED = tuple(name for name, tower in TOWERS.items() if tower.loosened)
RELEASED, UNIFIED, ASCEND = "vllm-0.12.0", "unified", "unified-ascend"
FLOAT32_ERROR = 3e-6
ATTENTION, ROTARY = "_npu_flash_attention_unpad", "npu_rotary_mul"
ROTATING = {
    "dots_ocr",
    "ernie45_vl",
    "glm4_1v",
    "keye",
    "moonvit",
    "paddleocr_vl",
    "pixtral",
    "pixtral_hf",
    "siglip2navit",
}
OPERATOR = "vllm/attention/layers/mm_encoder_attention.py"
SCALE = "self.scale = head_size**-0.5 if scale is None else scale"


def tree_of(implementation: str) -> str:
    sources = Path(__file__).parents[2] / "vllm_src"
    return str(sources / get(implementation).trees["vllm"])


def wrong_texts(tree: str) -> dict[str, str]:
    """The operator with another scale."""
    right = Path(tree, OPERATOR).read_text()
    assert SCALE in right
    return {OPERATOR: right.replace(SCALE, f"{SCALE}\n        self.scale *= 1.25")}


def first_difference(trace: TraceReader, right: TraceReader) -> str:
    for record in right.records:
        if record.hook_point not in trace:
            return record.hook_point
        if trace.record(record.hook_point).digest != record.digest:
            return record.hook_point
    return ""


def check_whole(trace: TraceReader, name: str) -> None:
    """Everything that the tower's description names was recorded, and nothing else."""
    absent = hook_map(get(trace.meta.implementation), FAMILIES[name]).absent
    expected = {
        point
        for point in hook_points.expand(trace.meta.depth, name)
        if hook_points.pattern_of(point) not in absent
    }
    assert {record.hook_point for record in trace.records} == expected, name
    assert [item for item in trace.unmatched if not item.explained] == [], name
    assert {r.hook_point: r.error for r in trace.records if r.error} == {}, name


def captured(towers: Towers, implementation: str) -> dict[str, TraceReader]:
    """Its towers in the dtype that a test captures anyway."""
    dtype = "bfloat16" if implementation == ASCEND else "float32"
    return towers(implementation, NAMES, dtype=dtype)


@pytest.mark.parametrize("implementation", [RELEASED, UNIFIED, ASCEND])
def test_towers_hold_the_checkpoints_weights(
    towers: Towers, implementation: str
) -> None:
    for name, trace in captured(towers, implementation).items():
        check_whole(trace, name)
        assert trace.meta.proven_weights == len(trace.meta.parameters), name


def test_the_series_changes_bits_only_of_towers_that_say_why(towers: Towers) -> None:
    released, unified = towers(RELEASED, NAMES), towers(UNIFIED, NAMES)
    found = {n: first_difference(unified[n], released[n]) for n in NAMES}
    changed = {name: point for name, point in found.items() if point}
    assert {n: p for n, p in changed.items() if n not in LOOSENED} == {}


def test_towers_with_other_bits_are_within_tolerance(towers: Towers) -> None:
    oracle = towers("hf", WITH_ORACLE)
    released, unified = towers(RELEASED, NAMES), towers(UNIFIED, NAMES)
    for name in LOOSENED:
        case = compare_traces(released[name], unified[name], oracle.get(name))
        assert (case.verdict, case.reason) == ("pass", ""), name


def test_released_towers_agree_with_the_oracle(towers: Towers) -> None:
    oracle = towers("hf", WITH_ORACLE)
    released = towers(RELEASED, WITH_ORACLE)
    wrong = {n: towers.wrong(released[n], oracle[n], FLOAT32_ERROR) for n in oracle}
    assert wrong == {name: {} for name in WITH_ORACLE}


@pytest.mark.parametrize("pair", TOWER_PAIRS)
def test_structures_differ_as_the_patches_intend(
    towers: Towers, pair: tuple[str, str]
) -> None:
    old, new = (captured(towers, side) for side in pair)
    undeclared = [
        (name, item.part, item.path, item.old, item.new)
        for name in NAMES
        for item in differences(old[name].meta, new[name].meta)
        if item.verdict == "undeclared"
    ]
    assert undeclared == []


def test_towers_on_ascend_run_its_operators(towers: Towers) -> None:
    """In bfloat16, for its attention has no float32."""
    old, rotating = towers(RELEASED, NAMES, dtype="bfloat16"), set()
    for name, trace in captured(towers, ASCEND).items():
        case = compare_traces(old[name], trace, None)
        assert (case.verdict, case.reason) == ("pass", ""), name
        assert ATTENTION in trace.meta.emulated, name
        rotating |= {name} if ROTARY in trace.meta.emulated else set()
    assert rotating == ROTATING


def test_a_wrong_scale_of_any_tower_shows_at_its_attention(
    towers: Towers, tmp_path: Path
) -> None:
    tree = tree_of(UNIFIED)
    faulty = towers.tree_with(tree, wrong_texts(tree), tmp_path / "tree")
    broken = towers(UNIFIED, NAMES, trees=("-wrong-scale", {"vllm": faulty}))
    oracle = towers("hf", WITH_ORACLE)
    for name, old in towers(RELEASED, NAMES).items():
        standard = Standard(expected_of(RELEASED, UNIFIED, model=name))
        case = compare_traces(old, broken[name], oracle.get(name), standard=standard)
        assert case.verdict == "fail", name
        first = next(layer for layer in case.layers if layer.verdict != "pass")
        assert first.hook_point == "blocks.0.attn.context", name
