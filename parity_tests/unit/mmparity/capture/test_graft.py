# SPDX-License-Identifier: Apache-2.0
"""Grafting, on a small encoder: each place computes on the donor's values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmparity.capture.graft import Graft
from mmparity.capture.recorder import capturing
from mmparity.compare.case import compare_traces
from mmparity.compare.grafted import with_grafted
from mmparity.compare.rejudge import Rule
from mmparity.compare.rejudge import rejudge as judge
from mmparity.compare.result import build_result
from mmparity.encoders import Encoder
from mmparity.encoders.rules import HookMap, Modules, Tap
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.comparison import CaseComparison
from mmparity.types.provenance import Provenance
from mmparity.types.trace import TraceMeta

B = "blocks.{i}"
T, HEADS, SIZE, PADDED = 6, 2, 4, 8
META = TraceMeta("old", "image", "float32", "cpu", "w", "p", ((1, 2, 3),), 2)


class Scale(nn.Module):
    """Doubles, or what a fault makes of it."""

    factor = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Attention(nn.Module):
    """Heads with ``pad`` more lanes, as [1, T, h, d]."""

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: torch.Tensor, cos: torch.Tensor) -> torch.Tensor:
        heads = F.pad(x.view(1, T, HEADS, SIZE), (0, self.pad))
        return heads * cos


class Block(nn.Module):
    def __init__(self, pad: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.mlp = Scale(), Attention(pad), Scale()
        self.extra = 0.0

    def forward(self, x: torch.Tensor, cos: torch.Tensor) -> torch.Tensor:
        context = self.attn(self.norm1(x), cos)[0, :, :, :SIZE].flatten(1)
        return x + self.mlp(context) + self.extra


class Tower(nn.Module):
    def __init__(self, pad: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(pad), Block(pad)])
        self.register_buffer("table", torch.full((), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, self.table)
        return x


MODULES: Modules = {
    "": (Tap("last_hidden_state", "output"),),
    "blocks.0": (Tap("embeddings", "input.0"), Tap("rotary.cos", "input.cos")),
    B: (Tap(B, "output"),),
    f"{B}.norm1": (Tap(f"{B}.norm1", "output"),),
    f"{B}.attn": (Tap(f"{B}.attn.context", "output", ("squeeze.0", "unpad_tail")),),
    f"{B}.mlp": (Tap(f"{B}.mlp.down_proj", "output"),),
}
X = torch.linspace(-1, 1, T * HEADS * SIZE).view(T, HEADS * SIZE)


def run(
    tower: Tower, out: Path, donor: TraceReader | None = None, name: str = "new"
) -> TraceReader:
    encoder = Encoder(
        model=tower,
        hook_map=HookMap(MODULES),
        forward=lambda pixels, grid: None,
        hyper_parameters={"num_heads": HEADS, "head_size": SIZE},
    )
    meta = replace(META, implementation=name)
    with TraceWriter(out, meta) as writer, torch.inference_mode():
        if donor is None:
            with capturing(encoder, 2, writer):
                tower(X.clone())
        else:
            with Graft(donor) as graft, capturing(encoder, 2, writer, graft):
                tower(X.clone())
            writer.meta = replace(meta, not_grafted=dict(graft.missed))
    return TraceReader(out)


@pytest.fixture
def old(tmp_path: Path) -> TraceReader:
    return run(Tower(), tmp_path / "old", name="old")


def judged(old: TraceReader, tower: Tower, root: Path) -> CaseComparison:
    new = run(tower, root / "new")
    grafted = run(tower, root / "grafted", old)
    return with_grafted(compare_traces(old, new, None), old, grafted, None)


def failing(case: CaseComparison) -> tuple[list[str], list[str]]:
    """Free-running and grafted."""
    rows = case.layers
    return (
        [row.hook_point for row in rows if row.verdict != "pass"],
        [r.hook_point for r in rows if r.grafted and r.grafted.verdict != "pass"],
    )


def test_every_independent_fault_is_named_in_one_run(
    old: TraceReader, tmp_path: Path
) -> None:
    tower = Tower(pad=PADDED - SIZE)
    tower.blocks[0].norm1.factor = 2.1
    tower.blocks[1].mlp.factor = 1.9
    case = judged(old, tower, tmp_path)
    free, grafted = failing(case)
    assert len(free) == 9  # everything after embeddings and cos
    assert grafted == ["blocks.0.norm1", "blocks.1.mlp.down_proj"]
    assert [fault.hook_point for fault in case.faults] == grafted
    assert "2 differ by themselves: blocks.0.norm1, blocks.1.mlp" in case.reason
    assert case.not_grafted == {}


def test_code_between_the_parts_of_a_block_is_told_from_its_parts(
    old: TraceReader, tmp_path: Path
) -> None:
    tower = Tower()
    tower.blocks[1].extra = 0.1
    case = judged(old, tower, tmp_path)
    (fault,) = case.faults
    assert fault.hook_point == "blocks.1"
    assert fault.about.startswith("children match, parent differs: all 3 parts")
    first = build_result([case], Provenance()).first_divergence
    assert first is not None
    assert first.about == fault.about
    assert first.descent == ("blocks.1",)


def test_one_fault_in_every_block_is_one_fault(
    old: TraceReader, tmp_path: Path
) -> None:
    tower = Tower()
    for block in tower.blocks:
        block.norm1.factor = 2.01
    case = judged(old, tower, tmp_path)
    (fault,) = case.faults
    assert fault.pattern == "blocks.{i}.norm1"
    assert fault.rows == ("blocks.0.norm1", "blocks.1.norm1")
    assert "blocks.0.norm1 (and 1 alike)" in case.reason


def test_a_wrong_table_is_fed_right_and_the_encoder_keeps_its_own(
    old: TraceReader, tmp_path: Path
) -> None:
    tower = Tower()
    tower.table.fill_(0.25)
    case = judged(old, tower, tmp_path)
    assert failing(case)[1] == ["rotary.cos"]
    assert case.faults[0].about == "it comes from the grid alone, before any weight"
    assert tower.table.item() == 0.25


def test_same_encoders_have_grafted_rows_that_pass(
    old: TraceReader, tmp_path: Path
) -> None:
    case = judged(old, Tower(pad=PADDED - SIZE), tmp_path)
    assert failing(case) == ([], [])
    assert "fed" not in case.reason
    assert {r.grafted.verdict for r in case.layers if r.grafted} == {"pass"}
    assert all(row.grafted for row in case.layers)


def test_what_cannot_be_fed_is_said_and_what_follows_is_no_fault(
    old: TraceReader, tmp_path: Path
) -> None:
    folder = tmp_path / "short"
    with TraceWriter(folder, old.meta) as writer:
        for record in old.records:
            tensor = old.read(record.hook_point)
            short = record.hook_point == "blocks.0.norm1"
            writer.add(record.hook_point, tensor[1:] if short else tensor, record.path)
    tower = Tower()
    tower.blocks[0].norm1.factor = 3.0
    case = judged(TraceReader(folder), tower, tmp_path)
    assert case.not_grafted == {
        "blocks.0.norm1": "shape differs: [6, 8] here, [5, 8] there"
    }
    context = next(x for x in case.layers if x.hook_point == "blocks.0.attn.context")
    assert context.grafted is not None
    assert context.grafted.verdict == "fail"
    assert context.grafted.follows == ("blocks.0.norm1",)
    assert [fault.hook_point for fault in case.faults] == ["blocks.0.norm1"]


def test_grafted_rows_are_judged_again_with_the_others(
    old: TraceReader, tmp_path: Path
) -> None:
    tower = Tower()
    tower.blocks[0].norm1.factor = 2.1
    result = build_result([judged(old, tower, tmp_path)], Provenance())
    bounds = dict.fromkeys(
        ("normalized_l2_error", "max_token_error", "max_element_error"), 1.0
    )
    rules = [Rule("blocks.*", "a test", bounds), Rule("last*", "a test", bounds)]
    again = judge(result, rules).cases[0]
    assert again.faults == ()
    assert failing(again) == ([], [])
