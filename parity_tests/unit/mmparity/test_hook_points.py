# SPDX-License-Identifier: Apache-2.0
"""Canonical names: in order, unique, and each known to every family."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmparity import encoders, hook_points
from mmparity.encoders.rules import Tap
from mmparity.implementations import IMPLEMENTATIONS, Implementation, get
from mmparity.layout import TRANSFORMS
from mmparity.types import MmparityError

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def taps(implementation: Implementation) -> Iterator[Tap]:
    names = encoders.hook_map(implementation)
    for rule in names.modules.values():
        if isinstance(rule, tuple):
            yield from rule
    for operator in names.operators:
        yield from operator.taps


def test_expansion_is_ordered_and_unique() -> None:
    names = hook_points.expand(2)
    assert len(names) == len(set(names)) == 5 + 2 * 14 + 5
    assert names[:2] == ("patch_embed", "window_index")
    assert names.index("blocks.0") < names.index("blocks.1.norm1")
    assert names[-1] == "last_hidden_state"


def test_a_number_finds_its_pattern() -> None:
    assert hook_points.get("blocks.17.attn.q").name == "blocks.{i}.attn.q"
    assert hook_points.get("blocks.3").kind == "float"
    assert hook_points.get("blocks.3.seqlens").kind == "integer"
    assert hook_points.block_number("blocks.17.attn.q") == 17
    assert hook_points.block_number("merger.mlp.0") is None


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(MmparityError, match=r"Closest: 'blocks\.7\.attn\.proj'"):
        hook_points.get("blocks.7.attn.proi")


@pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS.values(), ids=lambda i: i.name
)
def test_each_family_makes_every_hook_point_with_known_transforms(
    implementation: Implementation,
) -> None:
    found = list(taps(implementation))
    assert {tap.hook_point for tap in found} == set(encoders.HOOK_POINTS)
    assert {name for tap in found for name in tap.layout} <= set(TRANSFORMS)


def test_an_unknown_implementation_gets_the_closest() -> None:
    with pytest.raises(MmparityError, match="Closest: 'unified-ascend'"):
        get("unified-ascent")


def test_names_and_implementations_import_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; "
        "import mmparity.implementations, mmparity.hook_points, mmparity.encoders; "
        "import mmparity.encoders.unified, mmparity.encoders.ascend_0_11"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
