# SPDX-License-Identifier: Apache-2.0
"""Dumps of SGLang's dumper and of transformers' debugger, that these tools made."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from mmparity.capture.dumps.dump import load_pickled
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS

Compare = Callable[..., tuple[Result, Any]]
Dump = Callable[..., Path]
VOUCHED = ("--assume-same",)
INDEX = "Qwen2_5_VisionTransformerPretrainedModel_debug_tree_FULL_TENSORS.json"
IN_A_BLOCK = (
    *("norm1", "attn.qkv", "cu_seqlens", "max_seqlen", "attn.context", "attn.proj"),
    *("attn_residual", "norm2", "mlp.gate_up_proj", "mlp.act_fn", "mlp.down_proj"),
)


def test_both_tools_dumps_of_one_tower_are_the_same(
    compare: Compare, of_transformers: Dump, of_sglang: Path
) -> None:
    result, found = compare(of_transformers(), of_sglang, *VOUCHED)
    assert result.exit_code == 0, result.output
    (case,) = found["cases"]
    names = {layer["hook_point"] for layer in case["layers"]}
    blocks = {f"blocks.{i}.{name}" for i in range(2) for name in IN_A_BLOCK}
    mergers = {"merger.ln_q", "merger.mlp.0", "merger.mlp.1", "merger.mlp.2"}
    start = {"patch_embed", "embeddings", "rotary.cos", "rotary.sin"}
    assert names == blocks | mergers | start | {"blocks.0", "blocks.1"}
    assert all(item["explained"] for item in case["unmatched"])
    shapes = {layer["hook_point"]: layer["shape"] for layer in case["layers"]}
    assert shapes["blocks.1.attn.context"] == [16, 2, 8]
    assert "assumed, not shown: the same weights" in case["description"]


def test_sglangs_parameters_and_pixels_show_that_they_are_the_same(
    compare: Compare, of_sglang: Path
) -> None:
    result, found = compare(of_sglang, of_sglang)
    assert result.exit_code == 0, result.output
    names = {layer["hook_point"] for layer in found["cases"][0]["layers"]}
    assert "last_hidden_state" in names, "the dumper sees the tower itself"


def test_a_difference_is_found_at_its_hook_point(
    compare: Compare, of_transformers: Dump, small: Any
) -> None:
    changed = small.tower()
    changed.blocks[1].attn.proj.bias.data[3] += 0.5
    dumps = of_transformers(), of_transformers(changed, "changed")
    result, found = compare(*dumps, *VOUCHED)
    assert result.exit_code == 1, result.output
    assert found["first_divergence"]["hook_point"] == "blocks.1.attn.proj"
    assert found["first_divergence"]["worst_index"][1] == 3


class Around(torch.nn.Module):
    """A model whose other part has a longer list of modules."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.language = torch.nn.ModuleList(torch.nn.Linear(24, 24) for _ in range(5))
        self.visual = visual

    def forward(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
        found = self.visual(pixels, grid_thw=grid_thw)
        for layer in self.language:
            layer(pixels)
        return found


def test_the_tower_of_a_whole_model_is_found_by_its_blocks(
    compare: Compare, of_transformers: Dump, of_sglang: Path, small: Any
) -> None:
    result, found = compare(
        of_transformers(Around(small.tower()), "whole"), of_sglang, *VOUCHED
    )
    assert result.exit_code == 0, result.output
    assert len(found["cases"][0]["layers"]) == 32


class Layers(torch.nn.Module):
    """No vision tower."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(24, 24) for _ in range(3))

    def forward(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            pixels = layer(pixels)
        return pixels


def test_another_models_dump_is_told_with_its_longest_list(
    compare: Compare, of_transformers: Dump
) -> None:
    folder = of_transformers(Layers(), "other")
    result, _ = compare(folder, folder, *VOUCHED)
    assert result.exit_code == 2
    assert "has no module blocks.0" in result.stderr
    assert "Its longest list of modules is layers: 3." in result.stderr


def _cut(folder: Path, pattern: str) -> None:
    file = next(folder.glob(pattern))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _edit(folder: Path, old: str, new: str) -> None:
    text = (folder / INDEX).read_text()
    assert old in text
    (folder / INDEX).write_text(text.replace(old, new, 1))


NORM = "Qwen2_5_VisionTransformerPretrainedModel.blocks.0.norm1_outputs.safetensors"
DEBUGGER: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    "printed values in place of a file.*use_repr=False": (
        {"use_repr": True},
        lambda folder: None,
    ),
    "cannot be read": ({}, lambda folder: _cut(folder, INDEX)),
    "norm1_outputs.safetensors is not a tensor that can be read safely": (
        {},
        lambda folder: _cut(folder, NORM),
    ),
    "norm1_outputs.safetensors is missing or not a plain file": (
        {},
        lambda folder: (folder / NORM).unlink(),
    ),
    "a name in place of a file": ({}, lambda folder: _edit(folder, NORM, "../x.pt")),
    r"but .*FULL_TENSORS.json says torch.float32 \[16, 17\]": (
        {},
        lambda folder: _edit(folder, "torch.Size([16, 16])", "torch.Size([16, 17])"),
    ),
    "has no calls": ({}, lambda folder: (folder / INDEX).write_text("{}")),
    "has 2 dumps of transformers' model-addition debugger": (
        {},
        lambda folder: shutil.copytree(folder, folder / "again"),
    ),
}


@pytest.mark.parametrize("message", DEBUGGER)
def test_a_dump_of_the_debugger_that_cannot_be_read_is_one_clear_error(
    compare: Compare, of_transformers: Dump, message: str
) -> None:
    options, damage = DEBUGGER[message]
    folder = of_transformers(**options)
    damage(folder)
    result, found = compare(folder, folder, *VOUCHED)
    assert (result.exit_code, found) == (2, None), result.output
    assert re.search(message, result.stderr, re.DOTALL), result.stderr


def test_layers_that_the_debugger_left_out_are_missed(
    compare: Compare, of_transformers: Dump
) -> None:
    folder = of_transformers()
    tree = json.loads((folder / INDEX).read_text())
    blocks = [x for x in tree["children"] if x["module_path"].endswith("blocks.0")]
    tree["children"].remove(*blocks)
    (folder / INDEX).write_text(json.dumps(tree))
    result, _ = compare(folder, folder, *VOUCHED)
    assert result.exit_code == 2
    assert "has 1 blocks, but not blocks.0" in result.stderr
    assert "do_prune_layers=False" in result.stderr


def _other_rank(folder: Path) -> None:
    file = next(folder.glob("*norm1.output*"))
    shutil.copy(file, folder / file.name.replace("rank=0", "rank=1"))


SGLANG: dict[str, Callable[[Path], object]] = {
    "blocks.0.norm1.output___.* is not a tensor that can be read safely": (
        lambda folder: _cut(folder, "*blocks.0.norm1.output___*")
    ),
    "it is no file of SGLang's dumper": lambda folder: torch.save(
        torch.zeros(3), next(folder.glob("*blocks.0.norm1.output___*"))
    ),
    "it says that it is 'non_intrusive__blocks.1.norm1.output'": lambda folder: (
        shutil.copy(
            next(folder.glob("*blocks.1.norm1.output___*")),
            next(folder.glob("*blocks.0.norm1.output___*")),
        )
    ),
    "has files of the ranks 0 to 1": _other_rank,
    "has 2 dumps of SGLang's dumper": lambda folder: shutil.copytree(
        folder, folder / "again"
    ),
    "has no call of a module": lambda folder: [
        file.unlink() for file in folder.glob("*non_intrusive__*")
    ],
    "has dumps of msprobe and of SGLang's dumper": lambda folder: (
        folder / "dump.json"
    ).write_text("{}"),
}


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02.", b"\x80\x02K\x01Q.", b"\x80\x02X\xff", b"\x80\x02h\x09."],
    ids=["nothing", "no value", "a foreign id", "cut off", "nothing stored"],
)
def test_a_pickle_that_is_none_is_one_clear_error(
    tmp_path: Path, content: bytes
) -> None:
    whole, file = tmp_path / "whole.pt", tmp_path / "broken.pt"
    torch.save(torch.zeros(2), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            own = name.endswith("data.pkl")
            target.writestr(name, content if own else source.read(name))
    with pytest.raises(MmparityError, match=r"broken\.pt is not a tensor .* safely: ."):
        load_pickled(file)


@pytest.mark.parametrize("message", SGLANG)
def test_a_dump_of_sglang_that_cannot_be_read_is_one_clear_error(
    compare: Compare, of_sglang: Path, message: str
) -> None:
    SGLANG[message](of_sglang)
    result, found = compare(of_sglang, of_sglang, *VOUCHED)
    assert (result.exit_code, found) == (2, None), result.output
    assert re.search(message, result.stderr, re.DOTALL), result.stderr


@pytest.mark.skipif(
    not (EXTRAS / "peers/sglang").is_dir(), reason="needs make setup EXTRA=peers"
)
def test_each_forward_of_an_installed_sglang_can_be_taken(
    tmp_path: Path, compare: Compare, of_sglang: Path, small: Any
) -> None:
    live = tmp_path / "live"
    small.dump(small.tower(), live, steps=2)
    result, _ = compare(live, live, *VOUCHED, "--forward", "2")
    assert "has 2 forwards of the tower; there is no number 2" in result.stderr
    result, found = compare(live, live, "--forward", "1")
    assert result.exit_code == 0, result.output
    assert len(found["cases"][0]["layers"]) == 33
    result, _ = compare(of_sglang, live, "--forward", "0")
    assert result.exit_code == 0, result.output
