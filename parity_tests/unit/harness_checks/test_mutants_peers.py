# SPDX-License-Identifier: Apache-2.0
"""Other tools on the catalogue, without the tools: rows, places, counts, the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.peers import msprobe, run, sglang, table
from harness_checks.mutants.peers.places import Places, is_edited, is_right, owner_of
from harness_checks.mutants.peers.types import Found, Row
from harness_checks.mutants.score import Score, score
from harness_checks.mutants.trial import TrialOutcome
from mmparity.capture.dumps.forward import DumpedTower
from mmparity.errors import MmparityError
from mmparity.workload.implementations import IMPLEMENTATIONS

CONFIG = SimpleNamespace(model_type="qwen2_5_vl", depth=3)
QWEN3 = SimpleNamespace(model_type="qwen3_vl", depth=3, deepstack_visual_indexes=[0, 1])


@pytest.fixture(scope="module")
def places() -> Places:
    return Places(DumpedTower(IMPLEMENTATIONS["unified"], CONFIG))


@pytest.mark.parametrize(
    ("module", "side", "value", "at"),
    [
        ("blocks.0.norm1", "output", "", "blocks.0.norm1"),
        ("blocks.0.norm1", "parameter", "weight", "blocks.0.norm1"),
        ("blocks.0.norm1", "input", "0", "embeddings"),
        ("blocks.0.norm1", "input", "0", "window_index"),
        ("blocks.2.norm1", "input", "0", "blocks.1"),
        ("blocks.0.norm2", "input", "0", "blocks.0.attn_residual"),
        ("deepstack_merger_list.1", "input", "0", "deepstack_merger_list.1.norm"),
        ("blocks.2.norm1", "input", "0", "blocks.2.norm1"),
        ("blocks.0.attn.qkv", "input", "0", "blocks.0.norm1"),
        ("blocks.0.attn", "input", "0", "blocks.0.norm1"),
        ("blocks.0.attn.apply_rotary_emb", "input", "0", "blocks.0.attn.q"),
        ("blocks.0.attn", "input", "rotary_pos_emb_cos", "rotary.cos"),
        ("blocks.1.attn", "input", "sequence_lengths", "blocks.1.seqlens"),
        ("blocks.0.attn.apply_rotary_emb", "input", "1", "rotary.cos"),
        ("blocks.0.attn.apply_rotary_emb", "output", "", "blocks.0.attn.q"),
        ("blocks.0.attn.attn", "input", "query", "blocks.0.attn.q"),
        ("blocks.0.attn.attn", "output", "", "blocks.0.attn.context"),
        ("blocks.0.attn.proj", "input", "0", "blocks.0.attn.context"),
        ("blocks.0.norm2", "output", "1", "blocks.0.attn_residual"),
        ("blocks.0.mlp.act_fn", "output", "", "blocks.0.mlp.act_fn"),
        ("blocks.0.mlp", "output", "", "blocks.0.mlp.down_proj"),
        ("merger.mlp", "input", "0", "merger.ln_q"),
        ("patch_embed.proj", "input", "0", "patch_embed"),
        ("", "output", "", "last_hidden_state"),
    ],
)
def test_a_row_shows_the_hook_point(
    places: Places, module: str, side: Any, value: str, at: str
) -> None:
    if at.startswith("deepstack"):
        places = Places(DumpedTower(IMPLEMENTATIONS["unified"], QWEN3))
    assert is_right(places.of(Row(module, side, value, True)), [at])


@pytest.mark.parametrize(
    ("module", "side", "at"),
    [
        ("blocks.1.norm1", "output", "blocks.0.norm1"),
        ("blocks.0.attn.proj", "output", "blocks.0.attn.q"),
        ("blocks.0.attn.proj", "output", "blocks.0.norm1"),
        ("blocks.0.norm2", "output", "blocks.0.norm1"),
        ("blocks.1.attn", "output", "window_index"),
        ("merger.mlp.2", "output", "last_hidden_state"),
        ("merger.mlp.2", "output", "merger.mlp.0"),
        ("", "input", "last_hidden_state"),
    ],
)
def test_a_row_further_on_is_not_the_place(
    places: Places, module: str, side: Any, at: str
) -> None:
    assert not is_right(places.of(Row(module, side, "0", True)), [at])


def test_a_module_that_blocks_share_is_placed_by_its_call(places: Places) -> None:
    shared = Row("blocks.0.mlp.act_fn", "output", "", True)
    assert "blocks.2.mlp.act_fn" in places.of(replace(shared, number=2))
    assert "blocks.0.mlp.act_fn" in places.of(shared)


SOURCE = """
class Attention(Module):
    def forward(self, x):
        q = self.split(x)
        return q

class Tower(Module):
    class Inner:
        scale = 1

    def forward(self, x):
        return self.blocks(x)

def free(x):
    return x + 1
"""


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("        q = self.split(x)", "Attention"),
        ("\n        return self.blocks(x)\n", "Tower"),
        ("scale = 1", "Inner"),
        ("x + 1", None),
    ],
)
def test_the_class_that_an_edit_is_in(text: str, owner: str | None) -> None:
    assert owner_of(SOURCE, text) == owner


@pytest.mark.parametrize(
    ("module", "side", "edited"),
    [
        ("blocks.0.attn", "output", True),
        ("blocks.0.attn", "parameter", True),
        ("blocks.0.attn", "input", False),
        ("blocks.1.attn", "output", False),
        ("", "output", False),
    ],
)
def test_what_the_edited_class_returns_is_the_place(
    module: str, side: Any, edited: bool
) -> None:
    mutant = replace(BUGS[0], old="q = self.split(x)", at=("blocks.0.attn.q",))
    row, kinds = Row(module, side, "0", True), ["AscendAttention", "Attention"]
    assert is_edited(row, kinds, mutant, SOURCE) == edited
    assert not is_edited(row, ["Tower"], mutant, SOURCE)
    before = replace(mutant, at=("rotary.cos",))
    assert is_edited(row, kinds, before, SOURCE) == edited


def test_a_line_of_msprobe_is_read() -> None:
    name = "Module.blocks.0.attn.qkv.QKVParallelLinear.forward.2.parameters.weight"
    row = msprobe.row_of({"NPU Name": name, "Result": "warning"})
    assert row == Row("blocks.0.attn.qkv", "parameter", "weight", True, 2)
    given = f"{name.removesuffix('parameters.weight')}kwargs.cos"
    assert msprobe.row_of({"NPU Name": given, "Result": "error"}).side == "input"
    passed = {"NPU Name": "Module.merger.Merger.forward.0.output.0", "Result": "pass"}
    assert msprobe.row_of(passed) == Row("merger", "output", "0", False)
    with pytest.raises(MmparityError, match=r"msprobe compared 'Torch\.add'"):
        msprobe.row_of({"NPU Name": "Torch.add", "Result": "pass"})


def record(name: str, passed: bool, **more: Any) -> dict[str, Any]:
    base = {"type": "comparison_tensor", "errors": [], "diff": {"passed": passed}}
    return {**base, "name": f"non_intrusive__{name}", **more}


def test_records_of_sglang_are_read() -> None:
    rows = sglang.rows_of(
        [
            {"type": "config"},
            record("inputs.0", True),
            record("blocks.0.norm1.inputs.0", True),
            record("blocks.0.attn.inputs.rotary_pos_emb_cos", False),
            record("blocks.0.norm2.output.1", True),
            record("blocks.0.norm2.output.1", True),
            record("output", True, diff=None),
            {"type": "summary", "total": 6},
        ]
    )
    assert rows == [
        Row("", "input", "0", False),
        Row("blocks.0.norm1", "input", "0", False),
        Row("blocks.0.attn", "input", "rotary_pos_emb_cos", True),
        Row("blocks.0.norm2", "output", "1", False),
        Row("blocks.0.norm2", "output", "1", False, 1),
        Row("", "output", "", True),
    ]


@pytest.mark.parametrize(
    ("more", "flagged"),
    [
        ({"type": "comparison_skip"}, False),
        ({"type": "comparison_skip", "errors": ["x"]}, True),
        ({"type": "comparison_error"}, True),
        ({"errors": ["x"]}, True),
        ({"replicated_checks": [{"passed": False}]}, True),
        ({"type": "comparison_non_tensor", "values_equal": True}, False),
        ({"type": "comparison_non_tensor", "values_equal": False}, True),
    ],
)
def test_a_record_of_sglang_is_classed_as_it_classes_it(
    more: dict[str, Any], flagged: bool
) -> None:
    passed = more.get("type") != "comparison_error"
    (row,) = sglang.rows_of([record("blocks.0.norm1.output", passed, **more)])
    assert row.flagged == flagged


def bug(name: str, workload: str = "float") -> Mutant:
    at = ("blocks.0.norm1",)
    return Mutant(name, "bug", "unified", "vllm/a.py", "x", name, at, workload=workload)


BUGS = [bug("one"), bug("two"), bug("three"), bug("loads"), bug("ranks", "tp2")]
CALM = Mutant("calm", "rewrite", "unified", "vllm/a.py", "x", "y")
MUTANTS = [*BUGS, CALM]


def found(msprobe: Found, sglang: Found) -> dict[str, Any]:
    return {"msprobe": vars(msprobe), "sglang": vars(sglang)}


RIGHT = Found(True, "blocks.0.norm1 output", ("blocks.0.norm1",), rows=9)
OWN = Found(True, "blocks.0.attn output", ("blocks.1",), edited=True)
LATE = Found(True, "blocks.1 output", ("blocks.1",), rows=9)
NOTHING = Found(rows=9)
OUTCOMES = {
    "one": found(OWN, RIGHT),
    "two": found(NOTHING, LATE),
    "three": found(Found(reason="it stopped"), NOTHING),
    "loads": {},
    "calm": found(NOTHING, LATE),
    "unchanged unified float float32": found(NOTHING, NOTHING),
}


def judged() -> run.Judged:
    outcomes = {
        name: TrialOutcome(name, "float32", "pass", peers=peers)
        for name, peers in OUTCOMES.items()
    }
    return run.judged(MUTANTS, outcomes)


def result() -> Score:
    outcomes = {
        mutant.name: TrialOutcome(
            mutant.name, "float32", "fail", place="blocks.0.norm1"
        )
        for mutant in BUGS
    }
    return score(MUTANTS, {**outcomes, "calm": TrialOutcome("calm", "float32", "pass")})


def test_what_a_tool_cannot_run_is_in_none_of_its_counts() -> None:
    counts = [table.tally(tool, result(), judged()) for tool in ("msprobe", "sglang")]
    assert counts == [table.Tally(2, 1, 1, 1, 0), table.Tally(3, 2, 1, 1, 1)]


def test_the_harness_is_counted_over_the_same_edits() -> None:
    lines = table.summary(result(), judged())
    assert lines[2] == "| msprobe 26.2.0 | 1 of 2 | 1 | 0 of 1 |"
    assert lines[3] == "| SGLang 0.5.23 | 2 of 3 | 1 | 1 of 1 |"
    assert lines[4] == "| mmparity, the same edits | 3 of 3 | 3 | 0 of 1 |"


def test_the_table_says_what_each_tool_said(tmp_path: Path) -> None:
    file = tmp_path / "mutants.md"
    file.write_text(f"head\n{table.BEGIN}\n{table.END}\nfoot\n")
    table.write_peers(result(), judged(), file)
    text = file.read_text()
    assert "| one | `blocks.0.norm1` | found | found | found |" in text
    assert "| **missed** | elsewhere: `blocks.1 output` | found |" in text
    assert "| three | `blocks.0.norm1` | cannot run | **missed** | found |" in text
    assert "it stopped: three." in text
    assert "raises an error before there is a forward: loads." in text
    assert "needs several ranks; the tools run on one here: ranks." in text
    assert "without an edit: msprobe 26.2.0 0 of 1, SGLang 0.5.23 0 of 1." in text


def test_a_tool_that_cannot_judge_a_tree_without_an_edit_is_an_error() -> None:
    fine = TrialOutcome("unchanged", "float32", "pass", peers=found(NOTHING, NOTHING))
    run.check(fine)
    broken = found(Found(reason="ValueError: x"), NOTHING)
    for peers, said in ((broken, "ValueError: x"), ({}, "no forward")):
        with pytest.raises(MmparityError, match=f"float, no edit: {said}"):
            run.check(replace(fine, peers=peers, reason="" if peers else said))


def test_without_the_extra_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.sys, "version_info", (3, 11))
    (tmp_path / "msprobe").mkdir()
    with pytest.raises(MmparityError, match=r"sglang not .* `make setup EXTRA=peers`"):
        run.runnable(tmp_path)
    (tmp_path / "sglang").mkdir()
    assert run.runnable(tmp_path) == ("msprobe", "sglang")
    monkeypatch.setattr(run.sys, "version_info", (3, 10))
    (tmp_path / "sglang").rmdir()
    assert run.runnable(tmp_path) == ("msprobe",)
