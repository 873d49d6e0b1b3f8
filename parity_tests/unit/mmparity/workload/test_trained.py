# SPDX-License-Identifier: Apache-2.0
"""Trained weights in Qwen3-VL's tower compute what they do where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.planning import make_plans
from mmparity.workload import trained_file
from mmparity.workload.checkpoint import vision_weights
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import get
from mmparity.workload.seeded import vision_config
from mmparity.workload.tower_config import with_depth
from mmparity.workload.trained import tower_tensors, trained_checkpoint

MODEL = get("trained-vit-s")
HIDDEN = MODEL.vision_config["hidden_size"]


def small_vit() -> Dinov2Model:
    """A ViT of two blocks with values that no part has in common."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=HIDDEN, num_attention_heads=6, num_hidden_layers=2, image_size=518
    )
    vit = Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_(std=0.1)
    return vit


@torch.inference_mode()
def test_blocks_compute_what_they_do_in_the_vit() -> None:
    vit, config = small_vit(), with_depth(vision_config(MODEL.name), 2)
    stored = vit.state_dict()
    position = "embeddings.position_embeddings"
    stored[position] = stored[position][0, 1:]  # the first one is the class token's
    tower = Qwen3VLVisionModel(config).eval()
    tower.load_state_dict(tower_tensors(config, stored.__getitem__))
    pixels = torch.randn(9, 3, 14, 14)
    hidden = tower.patch_embed(torch.stack([pixels, pixels], dim=2).flatten(1))
    projection = vit.embeddings.patch_embeddings.projection
    torch.testing.assert_close(hidden, projection(pixels).flatten(1))
    unturned = torch.ones(9, 64), torch.zeros(9, 64)
    offsets = torch.tensor([0, 9], dtype=torch.int32)
    for ours, theirs in zip(tower.blocks, vit.encoder.layer, strict=True):
        expected = theirs(hidden[None])
        expected = expected[0] if isinstance(expected, tuple) else expected
        hidden = ours(hidden, cu_seqlens=offsets, position_embeddings=unturned)
        torch.testing.assert_close(hidden, expected.view(9, HIDDEN))


def test_a_model_without_its_weights_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trained_file, "FILE", tmp_path / "none.onnx")
    first, *others = make_plans(Options(tmp_path, models=("all",)), IMPLEMENTATIONS)
    assert first.left_out == (
        "trained-vit-s: its weights are not installed "
        "(`make setup EXTRA=trained`, 90 MB)",
    )
    assert MODEL.name not in {plan.model for plan in (first, *others)}
    with pytest.raises(MmparityError, match="trained-vit-s can't be run: its weights"):
        make_plans(Options(tmp_path, models=(MODEL.name,)), IMPLEMENTATIONS)


def test_a_model_with_its_weights_runs_whole_beside_models_that_are_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trained_file, "FILE", Path(__file__))
    plans = make_plans(Options(tmp_path, models=("all",)), IMPLEMENTATIONS)
    assert [plan.depth for plan in plans if plan.model == MODEL.name] == [None]
    assert not any(plan.left_out for plan in plans)


@pytest.mark.skipif(
    bool(trained_file.why_missing(MODEL.name)),
    reason=trained_file.why_missing(MODEL.name),
)
def test_the_pinned_file_has_every_weight(tmp_path: Path) -> None:
    directory = trained_checkpoint(tmp_path, MODEL)
    weights = dict(vision_weights(directory, vision_config(MODEL.name)))
    embedded = weights["patch_embed.proj.weight"]
    assert torch.equal(embedded[:, :, 0], embedded[:, :, 1])
    kernels = [weights[f"blocks.{n}.attn.qkv.weight"] for n in range(12)]
    assert len({kernel.sum().item() for kernel in kernels}) == 12
