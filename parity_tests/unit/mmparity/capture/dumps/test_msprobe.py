# SPDX-License-Identifier: Apache-2.0
"""Dumps of msprobe: read as data only, named as captures are, vouched for or no pass.

The writer here follows the files of mindstudio-probe 26.2.0 (docs/dumps.md).
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from mmparity.cli import main
from mmparity.workload.checkpoint import expected_shapes
from mmparity.workload.inputs import METADATA_KEY, pixels_digest
from mmparity.workload.tower_config import read_vision_config

if TYPE_CHECKING:
    from conftest import Damage

HEADS, WIDTH, MLP, TOKENS, DEPTH = 4, 32, 48, 16, 2
CONFIG = {
    "model_type": "qwen2_5_vl",
    "vision_config": {
        "depth": DEPTH,
        "hidden_size": WIDTH,
        "num_heads": HEADS,
        "intermediate_size": MLP,
        "out_hidden_size": 24,
        "fullatt_block_indexes": [1],
    },
}
PIXELS = "Module.patch_embed.proj.Conv3dLayer.forward.0"
Value = Any
Calls = dict[str, dict[str, Value]]


class Writer:
    """Writes calls as msprobe does at level L0 with task tensor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "step0" / "rank0"
        (self.folder / "dump_tensor_data").mkdir(parents=True)

    def write(self, calls: Calls) -> Path:
        data = {key: self._call(key, call) for key, call in calls.items()}
        index = {
            "task": "tensor",
            "level": "L0",
            "framework": "pytorch",
            "dump_data_dir": "elsewhere",
            "data": data,
        }
        (self.folder / "dump.json").write_text(json.dumps(index))
        return self.folder.parents[1]

    def _call(self, key: str, call: dict[str, Value]) -> dict[str, Value]:
        return {
            "input_args": self._entry(f"{key}.input", call.get("inputs", [])),
            "input_kwargs": self._entry(f"{key}.kwargs", call.get("named", {})),
            "output": self._entry(f"{key}.output", call["outputs"]),
            "parameters": self._entry(f"{key}.parameters", call.get("parameters", {})),
        }

    def _entry(self, name: str, value: Value) -> Value:
        if isinstance(value, list):
            return [self._entry(f"{name}.{i}", item) for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._entry(f"{name}.{key}", v) for key, v in value.items()}
        if value is None:
            return None
        torch.save(value, self.folder / "dump_tensor_data" / f"{name}.pt")
        return {
            "type": "torch.Tensor",
            "dtype": str(value.dtype),
            "shape": list(value.shape),
            "requires_grad": False,
            "data_name": f"{name}.pt",
        }


def tower(seed: int = 0, prefix: str = "") -> Calls:
    """What a tower of vLLM with this series leaves in a dump, in its layout."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def row(width: int = WIDTH) -> torch.Tensor:
        return draw(TOKENS, 1, width)

    def heads() -> torch.Tensor:
        return draw(1, TOKENS, HEADS, WIDTH // HEADS)

    lengths = {
        "cu_seqlens": torch.tensor([0, 4, 16], dtype=torch.int32),
        "max_seqlen": torch.tensor(12, dtype=torch.int32),
        "sequence_lengths": torch.tensor([4, 12], dtype=torch.int32),
    }
    rotary = {f"rotary_pos_emb_{name}": draw(TOKENS, 4) for name in ("cos", "sin")}
    calls: Calls = {
        "patch_embed.proj.Conv3dLayer.forward.0": {
            "inputs": [draw(TOKENS, 3, 2, 14, 14)],
            "outputs": [draw(TOKENS, WIDTH, 1, 1, 1)],
        }
    }
    for number in range(DEPTH):
        block = f"blocks.{number}"
        norm = {"weight": draw(WIDTH)}
        calls |= {
            f"{block}.norm1.RMSNorm.forward.0": {
                "inputs": [row()],
                "outputs": [row()],
                "parameters": norm,
            },
            f"{block}.attn.qkv.QKVParallelLinear.forward.0": {
                "inputs": [row()],
                "outputs": [row(3 * WIDTH), None],
            },
            f"{block}.attn.apply_rotary_emb.ApplyRotaryEmb.forward.0": {
                "inputs": [row()],
                "outputs": [row()],
            },
            f"{block}.attn.attn.MMEncoderAttention.forward.0": {
                "inputs": [heads(), heads(), heads()],
                "named": lengths,
                "outputs": [heads()],
            },
            f"{block}.attn.proj.RowParallelLinear.forward.0": {
                "outputs": [row(), None]
            },
            f"{block}.attn.Qwen2VisionAttention.forward.0": {
                "inputs": [row()],
                "named": rotary | lengths,
                "outputs": [row()],
            },
            f"{block}.norm2.RMSNorm.forward.0": {
                "inputs": [row()],
                "outputs": [row(), row()],
            },
            f"{block}.mlp.gate_up_proj.MergedColumnParallelLinear.forward.0": {
                "outputs": [row(2 * MLP), None]
            },
            f"blocks.0.mlp.act_fn.SiluAndMul.forward.{number}": {"outputs": [row(MLP)]},
            f"{block}.mlp.down_proj.RowParallelLinear.forward.0": {
                "inputs": [row(MLP)],
                "outputs": [row(), None],
            },
            f"{block}.mlp.Qwen2_5_VisionMLP.forward.0": {"outputs": [row()]},
        }
    merged = TOKENS // 4
    calls["merger.ln_q.RMSNorm.forward.0"] = {"inputs": [row()], "outputs": [row()]}
    for number, kind in enumerate(
        ("ColumnParallelLinear", "GELU", "RowParallelLinear")
    ):
        calls[f"merger.mlp.{number}.{kind}.forward.0"] = {
            "outputs": [draw(merged, 4 * WIDTH)]
        }
    return {f"Module.{prefix}{key}": call for key, call in calls.items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint whose norms are those of ``tower()``."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shapes = expected_shapes(read_vision_config(folder))
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for key, call in tower().items():
        if "norm1" in key:
            path = key.removeprefix("Module.").split(".RMSNorm")[0]
            tensors[f"{path}.weight"] = call["parameters"]["weight"]
    save_file({f"visual.{k}": v for k, v in tensors.items()}, folder / "a.safetensors")
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    pixels = tower()[PIXELS]["inputs"][0]
    pixels = pixels.flatten(1).contiguous()
    metadata = {
        "grid_thw": [[1, 4, 4]],
        "pixels_digest": pixels_digest(pixels),
        "description": "drawn",
    }
    file = tmp_path / "inputs.safetensors"
    save_file({"pixel_values": pixels}, file, {METADATA_KEY: json.dumps(metadata)})
    return file


@pytest.fixture
def compare(tmp_path: Path, checkpoint: Path) -> Callable[..., tuple[Result, Any]]:
    def run(old: Path, new: Path, *more: object) -> tuple[Result, Any]:
        out = tmp_path / "out"
        words = ["compare", old, new, "--out", out, "--checkpoint", checkpoint]
        if not {"--old-impl", "--new-impl"} & set(more):
            words += ["--old-impl", "unified", "--new-impl", "unified"]
        result = CliRunner().invoke(main, [str(word) for word in (*words, *more)])
        file = out / "comparison.json"
        return result, json.loads(file.read_text()) if file.exists() else None

    return run


Compare = Callable[..., tuple[Result, Any]]


def test_a_dump_gives_every_hook_point_that_modules_tell(
    tmp_path: Path, compare: Compare, inputs: Path
) -> None:
    old = Writer(tmp_path / "old").write(tower())
    new = Writer(tmp_path / "new").write(tower(prefix="visual."))
    result, found = compare(old, new, "--inputs", inputs)
    assert result.exit_code == 0, result.output
    (case,) = found["cases"]
    names = {layer["hook_point"] for layer in case["layers"]}
    assert len(names) == len(case["layers"]) == 40
    assert {"embeddings", "rotary.cos", "blocks.1", "blocks.1.attn.q"} <= names
    shapes = {layer["hook_point"]: layer["shape"] for layer in case["layers"]}
    assert shapes["blocks.0.attn.qkv"] == [TOKENS, 3, HEADS, WIDTH // HEADS]
    absent = {item["path"]: item for item in case["unmatched"]}
    assert absent["last_hidden_state"]["explained"]
    assert "no functions" in absent["window_index"]["reason"]
    assert case["grid_thw"] == [[1, 4, 4]]


@pytest.mark.parametrize(
    "prefix", ["0.", "module.", "1.module.", "0.visual.", "module.model.visual."]
)
def test_the_tower_is_where_its_blocks_are(
    tmp_path: Path, compare: Compare, inputs: Path, prefix: str
) -> None:
    old = Writer(tmp_path / "old").write(tower())
    new = Writer(tmp_path / "new").write(tower(prefix=prefix))
    result, found = compare(old, new, "--inputs", inputs)
    assert result.exit_code == 0, result.output
    assert len(found["cases"][0]["layers"]) == 40


@pytest.mark.parametrize(("other", "status"), [("audio.", 0), ("draft.visual.", 2)])
def test_blocks_of_another_part_are_told_from_the_towers(
    tmp_path: Path, compare: Compare, inputs: Path, other: str, status: int
) -> None:
    old = Writer(tmp_path / "old").write(tower())
    calls = {**tower(1, f"0.{other}"), **tower(prefix="0.visual.")}
    new = Writer(tmp_path / "new").write(calls)
    result, _ = compare(old, new, "--inputs", inputs)
    assert result.exit_code == status, result.output
    if status:
        assert "several towers with blocks: 0.draft.visual.blocks.0" in result.stderr


def test_a_dump_of_statistics_is_told_to_be_one(
    tmp_path: Path, compare: Compare
) -> None:
    """msprobe writes no folder of tensors then."""
    dump = Writer(tmp_path / "old").write(tower())
    folder = dump / "step0" / "rank0"
    shutil.rmtree(folder / "dump_tensor_data")
    _edit(folder, lambda content: content.update(task="statistics"))
    result, _ = compare(dump, dump)
    assert result.exit_code == 2
    assert "is of task 'statistics'" in result.stderr
    assert "Dump again: level L0, task tensor" in result.stderr


def test_a_difference_in_a_dump_is_found_at_its_hook_point(
    tmp_path: Path, compare: Compare, inputs: Path
) -> None:
    calls = tower()
    old = Writer(tmp_path / "old").write(calls)
    attention = calls["Module.blocks.1.attn.attn.MMEncoderAttention.forward.0"]
    attention["inputs"][1][0, 3, 2, 1] += 1
    new = Writer(tmp_path / "new").write(calls)
    result, found = compare(old, new, "--inputs", inputs)
    assert result.exit_code == 1
    assert found["first_divergence"]["hook_point"] == "blocks.1.attn.k"
    assert found["first_divergence"]["worst_index"] == [3, 2, 1]


def test_a_renamed_module_loses_no_row_in_silence(
    tmp_path: Path, compare: Compare, inputs: Path
) -> None:
    old = Writer(tmp_path / "old").write(tower())
    renamed = {k.replace(".mlp.down_proj.", ".mlp.out."): v for k, v in tower().items()}
    new = Writer(tmp_path / "new").write(renamed)
    result, found = compare(old, new, "--inputs", inputs)
    assert result.exit_code == 1
    undeclared = [
        item for item in found["cases"][0]["unmatched"] if not item["explained"]
    ]
    reasons = {item["path"]: item["reason"] for item in undeclared}
    assert "executed (RowParallelLinear)" in reasons["blocks.0.mlp.out"]


def _several(*towers: Calls) -> Calls:
    """Forwards of the same pixels one after the other: msprobe goes on counting."""
    calls: Calls = {}
    pixels = tower()[PIXELS]["inputs"]
    for number, forward in enumerate(towers):
        forward[PIXELS]["inputs"] = pixels
        for key, call in forward.items():
            name, _, count = key.rpartition(".")
            each = DEPTH if "act_fn" in key else 1
            calls[f"{name}.{int(count) + number * each}"] = {
                kind: value for kind, value in call.items() if kind != "parameters"
            }
    return calls


@pytest.mark.parametrize(("forward", "status"), [(0, 1), (1, 0), (2, 2)])
def test_one_of_several_forwards_is_taken(
    tmp_path: Path, compare: Compare, forward: int, status: int
) -> None:
    old = Writer(tmp_path / "old").write(_several(tower(1), tower(2)))
    new = Writer(tmp_path / "new").write(_several(tower(3), tower(2)))
    result, _ = compare(old, new, "--forward", forward, "--assume-same")
    assert result.exit_code == status, result.output
    if status == 2:
        assert "Allowed for --forward: 0 to 1" in result.stderr


def test_what_cannot_be_shown_to_be_the_same_does_not_pass(
    tmp_path: Path, compare: Compare, checkpoint: Path
) -> None:
    calls = tower()
    for call in calls.values():
        call.pop("parameters", None)
    old = Writer(tmp_path / "old").write(calls)
    result, found = compare(old, old)
    assert result.exit_code == 2
    assert found["verdict"] == "error"
    assert "the same weights could not be shown" in found["cases"][0]["reason"]
    again = CliRunner().invoke(main, ["rejudge", str(tmp_path / "out")])
    assert again.exit_code == 2, again.output
    result, found = compare(old, old, "--assume-same")
    assert result.exit_code == 0, result.output
    assert "assumed, not shown: the same weights" in found["cases"][0]["description"]


def test_other_weights_or_pixels_are_refused(
    tmp_path: Path, compare: Compare, inputs: Path
) -> None:
    calls = tower()
    calls["Module.blocks.1.norm1.RMSNorm.forward.0"]["parameters"]["weight"][0] += 1
    result, _ = compare(*[Writer(tmp_path / "weights").write(calls)] * 2)
    assert (result.exit_code, "norm1.weight is not what" in result.stderr) == (2, True)
    calls = tower()
    calls[PIXELS]["inputs"][0][0] += 1
    dump = Writer(tmp_path / "pixels").write(calls)
    result, _ = compare(dump, dump, "--inputs", inputs)
    assert (result.exit_code, "not those of --inputs" in result.stderr) == (2, True)


class _Runs:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch " + os.environ["PWNED"],)


NORM = "Module.blocks.0.norm1.RMSNorm.forward.0.output.0.pt"


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "dump.json").read_text())
    change(content)
    (folder / "dump.json").write_text(json.dumps(content))


def _entry(content: dict[str, Any]) -> dict[str, Any]:
    call = content["data"]["Module.blocks.0.norm1.RMSNorm.forward.0"]
    return dict.__getitem__(call, "output")[0]  # type: ignore[no-any-return]


def _data(folder: Path) -> Path:
    return folder / "dump_tensor_data" / NORM


def _store(folder: Path, tensor: torch.Tensor) -> None:
    """Another tensor in place of a norm's output, as the index says."""
    torch.save(tensor, _data(folder))
    _edit(folder, lambda c: _entry(c).update(dtype=str(tensor.dtype)))


HOSTILE: dict[str, Callable[[Path], object]] = {
    "not a tensor that can be read safely": lambda f: _data(f).write_bytes(
        pickle.dumps(_Runs())
    ),
    "read safely": lambda f: torch.save(_Runs(), _data(f)),
    "it holds a list": lambda f: torch.save([1, 2], _data(f)),
    "norm1.*read safely": lambda f: _data(f).write_bytes(_data(f).read_bytes()[:-90]),
    "missing or not a plain file": lambda f: _data(f).unlink(),
    "is missing or not": lambda f: (
        shutil.move(_data(f), f / "away"),
        _data(f).symlink_to(f / "away"),
    ),
    "larger than 8589934592 bytes": lambda f: os.truncate(_data(f), 1 << 42),
    "names no file of a tensor": lambda f: _edit(
        f, lambda c: _entry(c).update(data_name="../../../etc/passwd.pt")
    ),
    r"but dump.json says torch.float32 \[1\]": lambda f: _edit(
        f, lambda c: _entry(c).update(shape=[1])
    ),
    "task 'statistics'": lambda f: _edit(f, lambda c: c.update(task="statistics")),
    "no call of a module": lambda f: _edit(f, lambda c: c.update(data=[1])),
    "no module blocks.0": lambda f: _edit(
        f,
        lambda c: c.update(
            data={k: v for k, v in c["data"].items() if ".blocks." not in k}
        ),
    ),
    "RecursionError|recursion|brackets": lambda f: (f / "dump.json").write_text(
        "[" * 100_000
    ),
    "cannot be read": lambda f: (f / "dump.json").write_text("{"),
    "larger than 268435456": lambda f: os.truncate(f / "dump.json", 1 << 40),
    "cannot be read: it has a number of 5000 digits": lambda f: (
        f / "dump.json"
    ).write_text((f / "dump.json").read_text().replace("32]", f"{'1' * 5000}]", 1)),
    "has no dump_tensor_data": lambda f: shutil.rmtree(f / "dump_tensor_data"),
    "is torch.complex64 in the layout torch.strided; a trace cannot hold it": (
        lambda f: _store(f, torch.zeros(TOKENS, 1, WIDTH, dtype=torch.complex64))
    ),
    "is torch.float32 in the layout torch.sparse_coo": lambda f: _store(
        f, torch.zeros(TOKENS, 1, WIDTH).to_sparse()
    ),
    "is of task 17 and framework": lambda f: _edit(f, lambda c: c.update(task=17)),
    "has 2 dumps": lambda f: shutil.copytree(f, f.parent / "rank1"),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_a_hostile_dump_is_one_clear_error_and_runs_nothing(
    tmp_path: Path, compare: Compare, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    pwned = tmp_path / "pwned"
    monkeypatch.setenv("PWNED", str(pwned))
    dump = Writer(tmp_path / "dump").write(tower())
    HOSTILE[message](dump / "step0" / "rank0")
    result, found = compare(dump, dump, "--assume-same")
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr, re.DOTALL), result.stderr
    assert "Traceback" not in result.output
    assert found is None
    assert not pwned.exists()


def test_a_dump_needs_to_be_named_and_a_trace_must_not_be(
    tmp_path: Path, compare: Compare
) -> None:
    dump = Writer(tmp_path / "dump").write(tower())
    result, _ = compare(dump, dump, "--old-impl", "unified")
    assert result.exit_code == 2
    assert "--new-impl says of which implementation" in result.stderr
    (tmp_path / "empty").mkdir()
    result, _ = compare(tmp_path / "empty", dump, "--old-impl", "unified")
    assert (result.exit_code, "is none" in result.stderr) == (2, True)


def test_each_field_of_a_dump_with_another_value_is_refused_or_read(
    tmp_path: Path, checkpoint: Path, damage: Damage
) -> None:
    old = Writer(tmp_path / "old").write(tower())
    new = Writer(tmp_path / "new").write(tower())
    words = ["compare", old, new, "--out", tmp_path / "out", "--assume-same"]
    words += ["--checkpoint", checkpoint]
    words += ["--old-impl", "unified", "--new-impl", "unified"]
    file = old / "step0" / "rank0" / "dump.json"
    text = file.read_text()

    def alike(key: str) -> str:
        return "a call" if key.startswith("Module.") else key

    damaged = damage.one_at_each_place(json.loads(text), alike)
    cut = [text[:size] for size in range(0, len(text), len(text) // 9)]
    read = 0
    for content in (*map(json.dumps, damaged), *cut):
        file.write_text(content)
        read += damage.is_read(*words)
    assert read > 0, "much of a dump decides nothing"
