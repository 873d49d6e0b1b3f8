# SPDX-License-Identifier: Apache-2.0
"""A small vision tower of transformers, and a dump of it by SGLang's own dumper.

    .venv/bin/python parity_tests/unit/mmparity/capture/dumps/sglang/tower.py

writes ``dump.tar.xz`` beside this file (README.md).
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionConfig,
)

DEPTH, TOKENS = 2, 16
GRID = [[1, 4, 4]]
VISION_CONFIG = {
    "depth": DEPTH,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 24,
    "out_hidden_size": 8,
    "patch_size": 2,
    "window_size": 8,
    "fullatt_block_indexes": [1],
}
ARCHIVE = Path(__file__).with_name("dump.tar.xz")


def tower() -> Any:
    """The tower in float32, with the same weights each time."""
    config = Qwen2_5_VLVisionConfig(**VISION_CONFIG)
    config._attn_implementation = "sdpa"
    model = Qwen2_5_VisionTransformerPretrainedModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.data = 0.3 * drawn if parameter.dim() > 1 else 1 + 0.1 * drawn
    return model


def pixels() -> torch.Tensor:
    """Of one image: [patches, 3 * 2 frames * 2 * 2], float32."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TOKENS, 24, generator=generator)


def forward(model: Any) -> torch.Tensor:
    """The tower's result for the image, [patches / 4, 8]."""
    with torch.no_grad():
        return model(pixels(), grid_thw=torch.tensor(GRID))


def dump(model: Any, folder: Path, steps: int = 1) -> None:
    """What SGLang's dumper writes of forwards: all modules, and the parameters."""
    from harness_checks.mutants.peers import sglang

    tools = sglang.tool("dumper")
    config = tools.DumperConfig(
        enable=True,
        dir=str(folder.parent),
        exp_name=folder.name,
        non_intrusive_mode="all",
        enable_model_value=True,
        enable_output_console=False,
    )
    dumper = tools._Dumper(config=config)
    dumper.register_non_intrusive_dumper(model)
    try:
        for _ in range(steps):
            forward(model)
            dumper.step()
        dumper.dump_model(model)
    finally:
        dumper.reset()


def main() -> None:
    """Writes the archive; its entries have no date."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dump"
        dump(tower(), folder)
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for file in sorted(folder.iterdir()):
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                with file.open("rb") as content:
                    archive.addfile(entry, content)


if __name__ == "__main__":
    main()
