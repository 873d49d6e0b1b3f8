# SPDX-License-Identifier: Apache-2.0
"""One small tower, and what other tools and the harness need to know of it."""

from __future__ import annotations

import json
import runpy
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from mmparity.cli import main
from mmparity.workload.inputs import METADATA_KEY, pixels_digest

SGLANG = Path(__file__).with_name("sglang")


@pytest.fixture(scope="session")
def small() -> Any:
    """The functions of sglang/tower.py."""
    return SimpleNamespace(**runpy.run_path(str(SGLANG / "tower.py")))


@pytest.fixture
def known(tmp_path: Path, small: Any) -> tuple[str, ...]:
    """The tower's checkpoint and pixels, as options of ``compare``."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {"model_type": "qwen2_5_vl", "vision_config": small.VISION_CONFIG}
    (folder / "config.json").write_text(json.dumps(config))
    weights = small.tower().state_dict().items()
    save_file({f"visual.{k}": v for k, v in weights}, folder / "a.safetensors")
    pixels = small.pixels()
    metadata = {
        "grid_thw": small.GRID,
        "pixels_digest": pixels_digest(pixels),
        "description": "drawn",
    }
    file = tmp_path / "inputs.safetensors"
    save_file({"pixel_values": pixels}, file, {METADATA_KEY: json.dumps(metadata)})
    return "--checkpoint", str(folder), "--inputs", str(file)


@pytest.fixture
def of_sglang(tmp_path: Path) -> Path:
    """The dump that SGLang's dumper wrote of the tower."""
    folder = tmp_path / "sglang"
    with tarfile.open(SGLANG / "dump.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def of_transformers(tmp_path: Path, small: Any) -> Callable[..., Path]:
    """Dumps a tower with transformers' own tool."""
    from transformers import model_addition_debugger_context

    def dump(model: Any = None, name: str = "debugger", **options: Any) -> Path:
        folder = tmp_path / name
        given = {"use_repr": False, "do_prune_layers": False} | options
        model = model or small.tower()
        with model_addition_debugger_context(model, str(folder), **given):
            small.forward(model)
        return folder

    return dump


@pytest.fixture
def compare(
    tmp_path: Path, known: tuple[str, ...]
) -> Callable[..., tuple[Result, Any]]:
    """``mmparity compare`` of two folders; its result, and what it wrote."""

    def run(old: Path, new: Path, *more: str) -> tuple[Result, Any]:
        out = tmp_path / "out"
        words = ["compare", str(old), str(new), "--out", str(out), *known]
        words += ["--old-impl", "hf", "--new-impl", "hf"]
        result = CliRunner().invoke(main, [*words, *more])
        file = out / "comparison.json"
        return result, json.loads(file.read_text()) if file.exists() else None

    return run
