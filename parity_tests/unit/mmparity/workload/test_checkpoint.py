# SPDX-License-Identifier: Apache-2.0
"""Seeded checkpoints at a small size, and reading of what others wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmparity.errors import MmparityError
from mmparity.workload import models, seeded
from mmparity.workload.checkpoint import expected_shapes, vision_weights, weights_digest
from mmparity.workload.checkpoint_files import INDEX
from mmparity.workload.models import MODELS, Model, head_size
from mmparity.workload.seeded import seeded_checkpoint, write_seeded_checkpoint
from mmparity.workload.tower_config import read_vision_config, with_depth

TINY = {
    "depth": 4,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "out_hidden_size": 24,
    "fullatt_block_indexes": [1, 3],
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", Model("tiny", "qwen2_5_vl", TINY, "made up"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_seeded_checkpoint(tmp_path / "tiny", "tiny")
    return tmp_path / "tiny"


def stored(directory: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in directory.glob("*.safetensors"):
        tensors.update(load_file(file))
    return tensors


def digest(directory: Path, depth: int | None = None) -> str:
    config = with_depth(read_vision_config(directory), depth)
    return weights_digest(directory, config)


def test_default_model_is_the_real_vision_configuration() -> None:
    config = seeded.model_config("qwen2.5-vl-7b", None).vision_config
    shapes = expected_shapes(config)
    assert shapes["blocks.31.attn.qkv.weight"] == (3840, 1280)
    assert shapes["blocks.31.mlp.gate_proj.weight"] == (3420, 1280)
    assert shapes["merger.mlp.2.weight"] == (3584, 5120)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 676_550_144


def test_names_and_dtype_are_those_of_released_checkpoints(tiny: Path) -> None:
    tensors = stored(tiny)
    assert all(name.startswith("visual.") for name in tensors)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    raw = json.loads((tiny / "config.json").read_text())
    assert raw["model_type"] == "qwen2_5_vl"
    assert raw["vision_config"]["depth"] == 4
    index = json.loads((tiny / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)


def test_biases_and_norms_are_not_at_their_defaults(tiny: Path) -> None:
    for name, tensor in stored(tiny).items():
        values = tensor.float()
        if tensor.dim() == 1:
            default = 1.0 if "norm" in name or "ln_q" in name else 0.0
            assert (values - default).abs().median() > 0.01, name
            assert values.std() > 0.03, name


def test_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_seeded_checkpoint(tmp_path / name, "tiny", seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_values_are_those_of_every_machine(tiny: Path) -> None:
    assert digest(tiny).startswith("14733e126b3edae0")


def test_cut_encoder_has_the_same_first_blocks(tiny: Path, tmp_path: Path) -> None:
    write_seeded_checkpoint(tmp_path / "cut", "tiny", depth=2)
    assert read_vision_config(tmp_path / "cut").depth == 2
    assert digest(tiny, depth=2) == digest(tmp_path / "cut")
    assert digest(tiny, depth=2) != digest(tiny)


@pytest.mark.parametrize(("depth", "full"), [(4, [1, 3]), (3, [1]), (2, [1])])
def test_depth_keeps_a_window_and_a_full_block(
    tiny: Path, depth: int, full: list[int]
) -> None:
    config = with_depth(read_vision_config(tiny), depth)
    assert (config.depth, config.fullatt_block_indexes) == (depth, full)


def test_full_block_moves_into_a_shallow_cut() -> None:
    config = seeded.model_config("qwen2.5-vl-7b", 4).vision_config
    assert config.fullatt_block_indexes == [3]


@pytest.mark.parametrize("depth", [1, 5])
def test_impossible_depth_is_refused(tiny: Path, depth: int) -> None:
    with pytest.raises(MmparityError, match="Allowed: 2 to 4"):
        with_depth(read_vision_config(tiny), depth)


def test_cache_writes_once_and_repairs_what_was_cut_short(tmp_path: Path) -> None:
    first = seeded_checkpoint(tmp_path, "tiny")
    file = next(first.glob("*.safetensors"))
    written = file.stat().st_mtime_ns
    assert seeded_checkpoint(tmp_path, "tiny") == first
    assert file.stat().st_mtime_ns == written
    assert seeded_checkpoint(tmp_path, "tiny", depth=2) != first
    file.write_bytes(file.read_bytes()[:-4])
    good = digest(seeded_checkpoint(tmp_path, "tiny"))
    write_seeded_checkpoint(tmp_path / "other", "tiny")
    assert good == digest(tmp_path / "other")


def test_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(MmparityError, match="holds something else"):
        write_seeded_checkpoint(tmp_path / "mine", "tiny")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(seeded, "save_file", full)
    with pytest.raises(MmparityError, match="no space left"):
        write_seeded_checkpoint(tmp_path / "tiny", "tiny")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "visual.", "model.visual."])
def test_every_layout_of_names_is_read(tiny: Path, tmp_path: Path, prefix: str) -> None:
    tensors = {
        prefix + name.removeprefix("visual."): tensor
        for name, tensor in stored(tiny).items()
    }
    if prefix:
        tensors["lm_head.weight"] = torch.zeros(2, 2)
        tensors["model.layers.0.mlp.weight"] = torch.zeros(2, 2)
    else:
        tensors["rotary_pos_emb.inv_freq"] = torch.zeros(4)
    folder = tmp_path / "copy"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    raw = json.loads((tiny / "config.json").read_text())
    content = raw if prefix else {**raw["vision_config"], "model_type": "qwen2_5_vl"}
    (folder / "config.json").write_text(json.dumps(content))
    assert digest(folder) == digest(tiny)


def _rewrite(directory: Path, **changes: torch.Tensor | None) -> None:
    tensors: dict[str, torch.Tensor | None] = {**stored(directory)}
    tensors.update({f"visual.{k.replace('__', '.')}": v for k, v in changes.items()})
    for file in directory.glob("*.safetensors"):
        file.unlink()
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / "model.safetensors")
    (directory / INDEX).unlink(missing_ok=True)


def test_missing_misshapen_and_unknown_tensors_are_named(tiny: Path) -> None:
    config = read_vision_config(tiny)
    _rewrite(tiny, merger__ln_q__weight=torch.zeros(3))
    with pytest.raises(MmparityError, match=r"ln_q.weight' has shape \(3,\); expected"):
        dict(vision_weights(tiny, config))
    _rewrite(tiny, merger__ln_q__weight=None)
    with pytest.raises(MmparityError, match=r"no tensor 'merger.ln_q.weight'.*\(32,\)"):
        dict(vision_weights(tiny, config))
    _rewrite(
        tiny, merger__ln_q__weight=torch.zeros(32), blocks__0__extra=torch.zeros(1)
    )
    with pytest.raises(MmparityError, match=r"no parameter 'blocks.0.extra'"):
        dict(vision_weights(tiny, config))


@pytest.mark.parametrize("other", ["", "model.visual."])
def test_one_tensor_under_two_names_is_refused(tiny: Path, other: str) -> None:
    config = read_vision_config(tiny)
    tensors = stored(tiny)
    again = {f"{other}merger.ln_q.weight": torch.zeros(32)}
    _rewrite(tiny)
    save_file({**tensors, **again}, tiny / "model.safetensors")
    with pytest.raises(MmparityError, match=r"'merger.ln_q.weight' twice, as"):
        weights_digest(tiny, config)


def test_a_stale_shard_that_the_index_does_not_list_is_left_out(tiny: Path) -> None:
    before = digest(tiny)
    stale = {name: tensor + 1 for name, tensor in stored(tiny).items()}
    save_file(stale, tiny / "zzz-of-before.safetensors")
    assert digest(tiny) == before


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_numbers_that_need_a_scale_are_refused_without_one(
    tiny: Path, dtype: torch.dtype
) -> None:
    name = "blocks.0.attn.proj.weight"
    _rewrite(tiny, **{name.replace(".", "__"): torch.zeros(32, 32).to(dtype)})
    with pytest.raises(MmparityError, match=rf"{name}' is .*8.*; expected bfloat16"):
        weights_digest(tiny, read_vision_config(tiny))


def test_parts_of_a_whole_model_in_files_of_their_own_are_left_out(tiny: Path) -> None:
    before = digest(tiny)
    (tiny / INDEX).unlink()
    save_file({"talker.head.weight": torch.zeros(2)}, tiny / "other.safetensors")
    assert digest(tiny) == before


def test_folder_that_is_no_checkpoint_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match=r"config\.json is not there"):
        read_vision_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(MmparityError, match="model_type is 'llama'; known"):
        read_vision_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MmparityError, match="cannot be read"):
        read_vision_config(tmp_path)


def test_corrupt_or_absent_safetensors_are_explained(tiny: Path) -> None:
    config = read_vision_config(tiny)
    for file in tiny.glob("*.safetensors"):
        file.write_bytes(b"\x80\x04 pickle")
    with pytest.raises(MmparityError, match="not a safetensors file"):
        weights_digest(tiny, config)
    for file in tiny.glob("*.safetensors"):
        file.unlink()
    (tiny / INDEX).unlink()
    with pytest.raises(MmparityError, match=r"no \*\.safetensors"):
        weights_digest(tiny, config)


CUT = {
    "qwen2-vl-7b": (80, "blocks.1.mlp.fc1.weight", (5120, 1280)),
    "qwen2.5-vl-72b": (80, "merger.mlp.2.weight", (8192, 5120)),
    "qwen2.5-omni-7b": (80, "blocks.1.attn.q.weight", (1280, 1280)),
    "qwen3-vl-4b": (64, "deepstack_merger_list.1.linear_fc2.weight", (2560, 4096)),
    "qwen3-vl-30b-a3b": (72, "pos_embed.weight", (2304, 1152)),
}


@pytest.mark.parametrize("model", CUT)
def test_cut_towers_have_the_shapes_of_their_model(model: str) -> None:
    size, name, shape = CUT[model]
    config = seeded._vision_part(seeded.model_config(model, 2), model)
    shapes = expected_shapes(config)
    assert (config.depth, head_size(config)) == (2, size)
    assert shapes[name] == shape
    assert not any(part in key for key in shapes for part in ("blocks.2", "list.2"))


def test_a_deep_cut_keeps_the_first_deepstack_blocks_only() -> None:
    config = seeded.model_config("qwen3-vl-8b", 20).vision_config
    assert config.deepstack_visual_indexes == [8, 16]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_omni", "qwen3_vl"])
def test_each_family_is_written_and_read_as_released(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"depth": 3, "num_heads": 2, "patch_size": 2, "spatial_merge_size": 2}
    width = (
        {"embed_dim": 16, "hidden_size": 8}
        if family == "qwen2_vl"
        else {
            "hidden_size": 16,
            "intermediate_size": 24,
            "out_hidden_size": 8,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 2],
        }
    )
    small = Model("small", family, {**size, **width}, "made up")
    monkeypatch.setitem(MODELS, "small", small)
    write_seeded_checkpoint(tmp_path / "small", "small")
    raw = json.loads((tmp_path / "small" / "config.json").read_text())
    assert raw["model_type"] == family
    prefix = models.FAMILIES[family].prefixes[0]
    assert all(name.startswith(prefix) for name in stored(tmp_path / "small"))
    config = with_depth(read_vision_config(tmp_path / "small"), 2)
    names = {name for name, _ in vision_weights(tmp_path / "small", config)}
    assert names == set(expected_shapes(config))
    assert ("deepstack_merger_list.0.norm.weight" in names) == (family == "qwen3_vl")
