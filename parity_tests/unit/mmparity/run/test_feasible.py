# SPDX-License-Identifier: Apache-2.0
"""What cannot run is one line before anything is made, not an error after minutes."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from mmparity.cli import main
from mmparity.encoders.devices import check_present
from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.planning import make_capture_plan, make_plans
from mmparity.workload.implementations import get
from mmparity.workload.models import MODELS
from mmparity.workload.towers import TOWERS

pytestmark = pytest.mark.usefixtures("source_trees")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def refused(words: str, tmp_path: Path) -> str:
    """The one line that a run or a capture ends with, having made nothing."""
    out = tmp_path / "out"
    result = CliRunner().invoke(main, [*words.split(), "--out", str(out)])
    assert result.exit_code == 2, result.output
    assert not out.exists()
    assert not result.stdout
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Any]:
    """``config(**fields)``: a checkpoint folder with such a vision configuration."""

    def write(model_type: str = "qwen2_5_vl", **fields: Any) -> Path:
        folder = tmp_path / "checkpoint"
        folder.mkdir(exist_ok=True)
        content = {"model_type": model_type, "vision_config": fields}
        (folder / "config.json").write_text(json.dumps(content))
        return folder

    yield write


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--fast --depth 3", "--fast and --depth say other depths: give one."),
        ("--fast --full-depth", "--fast and --full-depth say other depths"),
        ("--depth 3 --full-depth", "--depth and --full-depth say other depths"),
        ("--depth 33", "qwen2.5-vl-7b: a depth of 33 .* Allowed: 2 to 32"),
        ("--models all --depth 30", "qwen3-vl-2b: .* Allowed: 2 to 24"),
        (
            "--tp 8",
            "qwen2.5-vl-7b has 3420 lanes of its MLP, .* Allowed: 1, 2, 4; --",
        ),
        ("--tp 3", "qwen2.5-vl-7b has 16 heads, which so many ranks cannot share. Al"),
        ("--tp 3 --mm-encoder-tp-mode data", "--tp 3: Allowed: 1, 2, 4, 8$"),
        (
            "--dtype float64",
            "does not run in 'float64'. Allowed: float32, bf",
        ),
        ("--dtype int8", "does not run in 'int8'"),
        ("--old vllm-0.12.0 --new unified --case w8a8", "unified cannot load W8A8"),
        ("--device cuda", "ascend-0.11.0 runs on cpu .*, not on cuda"),
        pytest.param(
            "--device cuda --old vllm-0.12.0 --new unified",
            "--device cuda: torch .* finds no such device. `mmparity doctor` says",
            marks=NO_CUDA,
        ),
        ("--device npu", "--device npu: torch_npu cannot be imported"),
        ("--tree unified:vllm=/", "unified needs vllm, and / has no package vllm"),
        (
            "--tree unified-ascend-weights:vllm=TREE",
            "weights takes no part. These do: asc",
        ),
        (
            "--tree unified:vllm=TREE --tree unified:vllm=TREE",
            "--tree unified:vllm is given twice: give one",
        ),
        (
            "--tree ascend-0.11.0:vllm-ascend=SOURCES/vllm-ascend-0.12.0rc1",
            "ascend-0.11.0 needs AscendQwen2_5_VisionTransformer of "
            "vllm_ascend.models.qwen2_5_vl, but .* has none",
        ),
        ("--cache OUT/traces/kept", "--cache .* is where a run's own traces come and"),
        ("--grid 1,200000,200000", r"GiB free; the traces of this run take up to"),
    ],
)
def test_a_run_that_cannot_run_is_one_line(
    tmp_path: Path, source_trees: Path, words: str, line: str
) -> None:
    words = words.replace("TREE", str(source_trees / "vllm-0.12.0"))
    words = words.replace("SOURCES", str(source_trees))
    words = words.replace("OUT", str(tmp_path / "out"))
    assert re.search(line, refused(f"run {words}", tmp_path))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("unified --tp 8", "Allowed: 1, 2, 4; --mm-encoder-tp-mode data"),
        ("unified --case w8a8", "unified cannot load W8A8"),
        ("unified-ascend --device cuda", "not on cuda"),
        ("hf --depth 40", "Allowed: 2 to 32"),
        ("unified --tree unified-ascend:vllm=/", "unified-ascend takes no part"),
        ("unified --fast --depth 2", "give one"),
    ],
)
def test_a_capture_that_cannot_run_is_one_line(
    tmp_path: Path, words: str, line: str
) -> None:
    assert line in refused(f"capture {words}", tmp_path)


def test_floors_that_cannot_be_measured_are_one_line(tmp_path: Path) -> None:
    words = f"floors --measure unified --device npu --work {tmp_path}/work"
    assert "torch_npu cannot be imported" in refused(words, tmp_path)
    (tmp_path / "folder").mkdir()
    words = f"floors --measure hf --depth 2 --out {tmp_path}/folder"
    result = CliRunner().invoke(main, words.split())
    assert (result.exit_code, "is a folder" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("given", "words", "line"),
    [
        (
            {"patch_size": 32},
            "",
            r"checkpoint: 16x18 patches of 32 pixels at \d+,",
        ),
        (
            {"spatial_merge_size": 4},
            "",
            "case 'image' has 16x18 patches: 18 is no",
        ),
        ({"spatial_merge_size": 4}, "--grid 1,8,6", "8x6 patches: 6 is no multiple"),
        ({"num_heads": 12, "hidden_size": 960}, "--tp 8", "12 heads, .* Allowed: 1, 2"),
        ({"depth": 2}, "--depth 3", "Allowed: 2 to 2"),
        ({}, "--case w8a8", "case 'w8a8' is of W8A8 layers, and .*checkpoint has none"),
        ({"model_type": "qwen3_vl"}, "", "ascend-0.11.0 has no encoder for qwen3_vl"),
        ({"model_type": "qwen4_vl"}, "", "model_type is 'qwen4_vl'; known"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    tmp_path: Path, config: Any, given: dict[str, Any], words: str, line: str
) -> None:
    words = f"run --checkpoint {config(**given)} {words}"
    assert re.search(line, refused(words, tmp_path))


def test_a_quantized_checkpoint_is_refused_where_it_cannot_run(
    tmp_path: Path, config: Any
) -> None:
    folder = config()
    layers = {"visual.blocks.0.mlp.up_proj.weight": "W8A8"}
    (folder / "quant_model_description.json").write_text(json.dumps(layers))
    words = f"run --checkpoint {folder} --old ascend-0.11.0 --new unified-ascend"
    line = refused(f"{words} --case ragged", tmp_path)
    assert line.endswith(
        "checkpoint is W8A8, which does not run in float32. Give --dtype bfloat16."
    )
    words = f"run --checkpoint {folder} --dtype bfloat16 --case ragged"
    assert "unified cannot load W8A8" in refused(words, tmp_path)
    options = Options(tmp_path / "out", checkpoint=folder, cases=("ragged",))
    oracle = make_capture_plan(options, "hf", {"hf": get("hf")})
    assert oracle.dtypes_of("hf") == ("float64",)


OF_THE_FAMILY = [n for n, m in MODELS.items() if not m.trained and n not in TOWERS]


@pytest.mark.parametrize("model", OF_THE_FAMILY)
def test_ranks_that_a_model_cannot_share_are_known(model: str) -> None:
    """The widths of these models that 8 does not divide; 1, 2 and 4 divide all."""
    for ranks in (1, 2, 4, 8):
        options = Options(Path("out"), models=(model,), tp=ranks, depth=2)
        narrow = model in ("qwen2.5-vl-7b", "qwen2.5-vl-3b", "qwen2.5-omni-7b")
        if ranks == 8 and narrow:
            with pytest.raises(MmparityError, match="3420 lanes of its MLP"):
                make_capture_plan(options, "unified", {"unified": get("unified")})
        else:
            make_capture_plan(options, "unified", {"unified": get("unified")})


def test_a_tower_beside_the_family_is_run_on_one_rank_only() -> None:
    options = Options(Path("out"), models=("siglip",), tp=2)
    with pytest.raises(MmparityError, match="siglip is run on one rank only"):
        make_capture_plan(options, "unified", {"unified": get("unified")})


def test_ranks_that_take_images_each_have_all_of_the_weights() -> None:
    options = Options(Path("out"), tp=8, tp_mode="data", depth=2)
    make_capture_plan(options, "unified", {"unified": get("unified")})


def test_devices_of_a_cluster_are_not_looked_for_here() -> None:
    options = Options(
        Path("out"), old="vllm-0.12.0", new="unified", device="cuda", ray="auto"
    )
    (plan,) = make_plans(options, {name: get(name) for name in ("hf", *PAIR)})
    assert plan.options.device == "cuda"


PAIR = ("vllm-0.12.0", "unified")


def test_ranks_without_an_npu_each_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    npu = types.SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch_npu", types.ModuleType("torch_npu"))
    monkeypatch.setattr(torch, "npu", npu, raising=False)
    check_present("npu", 2)
    with pytest.raises(MmparityError, match=r"--tp 4 .*sees 2.*or give --tp 2"):
        check_present("npu", 4)


def test_it_is_said_in_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    refused("run --models all --depth 30", tmp_path)
    assert time.monotonic() - started < 30


def test_the_trees_that_are_there_are_taken(tmp_path: Path, source_trees: Path) -> None:
    fork = shutil.copytree(source_trees / "patched", tmp_path / "fork")
    words = f"--old vllm-0.12.0 --new unified --tree unified:vllm={fork}/vllm-0.12.0"
    options = Options(Path("out"), trees=(words.rpartition(" ")[2],))
    plans = make_plans(options, {item.name: item for item in map(get, EVERY)})
    assert plans[0].trees["unified"]["vllm"] == f"{fork}/vllm-0.12.0"


EVERY = ("hf", "ascend-0.11.0", "ascend-0.12.0rc1", "unified-ascend", *PAIR)
