# SPDX-License-Identifier: Apache-2.0
"""Canonical names: in order, unique, and each known to every family."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmparity import encoders
from mmparity.encoders.rules import HookMap, Tap
from mmparity.errors import MmparityError
from mmparity.trace import hook_points
from mmparity.trace.layout import TRANSFORMS
from mmparity.workload.implementations import IMPLEMENTATIONS, Implementation, get
from mmparity.workload.models import FAMILIES, Family

TOOLS = Path(__file__).resolve().parents[4] / "tools"


def taps(names: HookMap) -> Iterator[Tap]:
    for rule in names.modules.values():
        if isinstance(rule, tuple):
            yield from rule
    for operator in names.operators:
        yield from operator.taps


def test_expansion_is_ordered_and_unique() -> None:
    names = hook_points.expand(2)
    assert len(names) == len(set(names)) == 5 + 2 * 16 + 5
    assert names[:2] == ("patch_embed", "window_index")
    assert names.index("blocks.0") < names.index("blocks.1.norm1")
    assert names[-1] == "last_hidden_state"


def test_a_number_finds_its_pattern() -> None:
    assert hook_points.get("blocks.17.attn.q").name == "blocks.{i}.attn.q"
    assert hook_points.get("blocks.3").kind == "float"
    assert hook_points.get("blocks.3.seqlens").kind == "integer"
    assert hook_points.block_number("blocks.17.attn.q") == 17
    assert hook_points.block_number("merger.mlp.0") is None


@pytest.mark.parametrize(
    ("name", "device", "reason"),
    [
        ("blocks.3.cu_seqlens", "npu", None),
        ("blocks.3.cu_seqlens", "cpu", "on cpu, and operators read it on npu"),
        ("blocks.3.max_seqlen", "cpu", None),
        ("blocks.3.max_seqlen", "npu", "on npu, and operators read it on cpu"),
        ("blocks.3.seqlens", "npu", "on npu, and operators read it on cpu, the host's"),
        ("blocks.3.attn.q", "cpu", None),
    ],
)
def test_lengths_are_where_operators_read_them(
    name: str, device: str, reason: str | None
) -> None:
    found = hook_points.misplaced(name, device, "npu")
    assert found is None if reason is None else reason in str(found)


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(MmparityError, match=r"Closest: 'blocks\.7\.attn\.proj'"):
        hook_points.get("blocks.7.attn.proi")


@pytest.mark.parametrize(
    ("implementation", "family"),
    [
        (item, FAMILIES[name])
        for item in IMPLEMENTATIONS.values()
        for name in item.classes
    ],
    ids=lambda item: item.name,
)
@pytest.mark.parametrize("float32", [False, True])
def test_each_family_makes_every_hook_point_with_known_transforms(
    implementation: Implementation, family: Family, float32: bool
) -> None:
    names = encoders.hook_map(implementation, family, deepstack=1, float32=float32)
    found = list(taps(names))
    order = hook_points.ARCHITECTURES[family.architecture]
    made = {tap.hook_point for tap in found} | names.absent.keys()
    assert made == {point.name for point in order.all}
    assert {name for tap in found for name in tap.layout} <= set(TRANSFORMS)


def test_deepstack_mergers_are_numbered_apart_from_blocks() -> None:
    names = hook_points.expand(2, "qwen3_vl", 2)
    assert len(names) == len(set(names)) == 5 + 2 * 16 + 2 * 4 + 5
    name = "deepstack_merger_list.1.norm"
    assert name in names
    assert hook_points.number_of(name) == 1
    assert hook_points.block_number(name) is None
    assert hook_points.get(name).layout == "[T/4, 4 D]"


def test_an_unknown_implementation_gets_the_closest() -> None:
    with pytest.raises(MmparityError, match="Closest: 'unified-ascend'"):
        get("unified-ascent")


def test_names_and_implementations_import_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; "
        "import mmparity.workload.implementations, mmparity.trace.hook_points; "
        "import mmparity.encoders; "
        "import mmparity.encoders.unified, mmparity.encoders.ascend_0_11"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
