# SPDX-License-Identifier: Apache-2.0
"""Coverage counts every executed path once, and an uncovered one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmparity.compare.case import compare_traces
from mmparity.compare.evidence.coverage import is_reshape
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.comparison import Coverage
from mmparity.types.trace import TraceMeta

META = TraceMeta("any", "image", "float32", "cpu", "w", "p", ((1, 4, 6),), 2)
Fill = Callable[[TraceWriter], None]


def written(folder: Path, fill: Fill) -> TraceReader:
    with TraceWriter(folder, META) as writer:
        fill(writer)
    return TraceReader(folder)


def point(name: str, path: str, *transforms: str) -> Fill:
    return lambda writer: writer.add(name, torch.ones(4, 3), path, transforms)


def declared(path: str, reason: str, explained: bool = True) -> Fill:
    return lambda writer: writer.unmatched(path, reason, explained)


def compared(tmp_path: Path, old: list[Fill], new: list[Fill]) -> Any:
    sides = []
    for name, fills in (("old", old), ("new", new)):

        def fill(writer: TraceWriter, fills: list[Fill] = fills) -> None:
            for each in fills:
                each(writer)

        sides.append(written(tmp_path / name, fill))
    return compare_traces(sides[0], sides[1], None)


def test_each_executed_path_is_in_one_class(tmp_path: Path) -> None:
    case = compared(
        tmp_path,
        [
            point("blocks.0.attn.q", "blocks.0.attn/flash", "unpad_tail"),
            point("blocks.0.attn.v", "blocks.0.attn/flash"),
            point("blocks.0.norm1", "blocks.0.norm1", "squeeze.1"),
            declared("blocks.{i}.attn", "container"),
        ],
        [
            point("blocks.0.attn.q", "blocks.0.attn.op"),
            point("blocks.0.attn.v", "blocks.0.attn.op"),
            point("blocks.0.norm1", "blocks.0.norm1"),
        ],
    )
    assert case.verdict == "pass"
    assert case.coverage == Coverage(5, 3, 1, 1, 0, 100.0, ())


def test_an_undeclared_path_is_uncovered_and_fails(tmp_path: Path) -> None:
    both = point("blocks.0.norm1", "blocks.0.norm1")
    stray = declared("blocks.0.extra", "executed, but declared nowhere", False)
    case = compared(tmp_path, [both], [both, stray])
    assert case.verdict == "fail"
    assert case.coverage.uncovered_paths == ("new: blocks.0.extra",)
    assert case.coverage.percent == pytest.approx(200 / 3)


def test_a_renamed_module_lowers_the_coverage(tmp_path: Path) -> None:
    same = point("blocks.0.norm1", "blocks.0.norm1")
    case = compared(
        tmp_path,
        [same, point("merger.ln_q", "merger.ln_q")],
        [same, point("merger.norm", "merger.norm")],
    )
    assert case.verdict == "fail"
    assert case.coverage.uncovered == 2
    assert case.coverage.percent == 50.0


def test_a_declared_one_sided_hook_point_is_absent(tmp_path: Path) -> None:
    same = point("blocks.0.norm1", "blocks.0.norm1")
    case = compared(
        tmp_path,
        [same, point("rotary.cos", "rotary"), declared("rotary.cos", "new fuses it")],
        [same],
    )
    assert case.verdict == "pass"
    assert (case.coverage.absent, case.coverage.uncovered) == (1, 0)


def test_nothing_executed_is_not_full_coverage(tmp_path: Path) -> None:
    case = compared(tmp_path, [], [])
    assert case.verdict == "error"
    assert case.coverage.percent == 0.0


def test_classes_must_add_up() -> None:
    with pytest.raises(AssertionError):
        Coverage(3, 1, 1, 0, 0, 100.0, ())


def test_only_views_of_the_same_values_are_reshapes() -> None:
    assert all(map(is_reshape, ("squeeze.0", "tokens_first", "split_heads")))
    others = ("split_qkv", "unpad_tail", "joined", "fold_halves", "sequences_joined")
    assert not any(map(is_reshape, others))
