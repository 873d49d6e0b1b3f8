# SPDX-License-Identifier: Apache-2.0
"""The models whose vision towers are compared, with their published configurations.

Data only; it must import without torch and transformers. Values that differ from
the defaults of transformers' configuration classes are written out. ``source``
says for each model where they come from: "default" where transformers' class,
which is documented as that of the model, has them; "unverified" where they were
written down from the released config.json without a copy at hand to compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mmparity.errors import MmparityError
from mmparity.project import known
from mmparity.workload.towers import TOWERS, recipe_of

Architecture = str
"""What decides the hook points of a tower: of Qwen-VL's three, or a tower's name."""
ConfigValues = dict[str, Any]
"""Of a model, or of a part of it, as transformers' configuration class takes them."""


@dataclass(frozen=True)
class Family:
    """Towers of one class.

    Attributes:
        name: transformers' model_type of the whole model.
        architecture: which hook points its tower has.
        modeling: transformers' module with the tower, the oracle.
        tower: class of the tower there.
        model: class of the model around it, which is asked for images' features.
        vision_type: model_type of the vision configuration.
        path: from the whole model's configuration to the vision configuration.
        prefixes: of the tower's tensors in a checkpoint, the writer's first.
        image_mean: and deviation, that its image processor takes off.
        video_processor: module and class of its video processor.
    """

    name: str
    architecture: Architecture
    modeling: str
    tower: str
    model: str
    vision_type: str
    path: tuple[str, ...] = ("vision_config",)
    prefixes: tuple[str, ...] = ("visual.", "model.visual.")
    image_mean: tuple[float, ...] | None = None
    video_processor: str = "qwen2_vl.video_processing_qwen2_vl:Qwen2VLVideoProcessor"

    @property
    def vision_types(self) -> tuple[str, str]:
        """The model_type of the vision configuration, and from transformers 5 on."""
        return self.vision_type, f"{self.name}_vision"


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "qwen2_vl",
            "qwen2_vl",
            "qwen2_vl.modeling_qwen2_vl",
            "Qwen2VisionTransformerPretrainedModel",
            "Qwen2VLModel",
            "qwen2_vl",
        ),
        Family(
            "qwen2_5_vl",
            "qwen2_5_vl",
            "qwen2_5_vl.modeling_qwen2_5_vl",
            "Qwen2_5_VisionTransformerPretrainedModel",
            "Qwen2_5_VLModel",
            "qwen2_5_vl",
        ),
        Family(
            "qwen2_5_omni",
            "qwen2_5_vl",
            "qwen2_5_omni.modeling_qwen2_5_omni",
            "Qwen2_5OmniVisionEncoder",
            "Qwen2_5OmniThinkerForConditionalGeneration",
            "qwen2_5_omni_vision_encoder",
            path=("thinker_config", "vision_config"),
            prefixes=("thinker.visual.", "visual."),
        ),
        Family(
            "qwen3_vl",
            "qwen3_vl",
            "qwen3_vl.modeling_qwen3_vl",
            "Qwen3VLVisionModel",
            "Qwen3VLModel",
            "qwen3_vl",
            prefixes=("model.visual.", "visual."),
            image_mean=(0.5, 0.5, 0.5),
            video_processor="qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor",
        ),
        Family(
            "qwen3_vl_moe",
            "qwen3_vl",
            "qwen3_vl_moe.modeling_qwen3_vl_moe",
            "Qwen3VLMoeVisionModel",
            "Qwen3VLMoeModel",
            "qwen3_vl_moe",
            prefixes=("model.visual.", "visual."),
            image_mean=(0.5, 0.5, 0.5),
            video_processor="qwen3_vl.video_processing_qwen3_vl:Qwen3VLVideoProcessor",
        ),
    )
}


@dataclass(frozen=True)
class Model:
    """A released model's vision tower."""

    name: str
    family: str
    vision_config: ConfigValues
    source: str
    text_config: ConfigValues = field(default_factory=dict)
    """Only what a written config.json should not leave at another model's default."""
    trained: bool = False
    """Its weights are trained ones, not seeded: ``workload.trained`` has them."""


DEFAULT_MODEL = "qwen2.5-vl-7b"
_QWEN2 = {
    "depth": 32,
    "embed_dim": 1280,
    "num_heads": 16,
    "mlp_ratio": 4,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_QWEN2_5 = {
    "depth": 32,
    "hidden_size": 1280,
    "num_heads": 16,
    "intermediate_size": 3420,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_QWEN3_SMALL = {
    "depth": 24,
    "hidden_size": 1024,
    "num_heads": 16,
    "intermediate_size": 4096,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_QWEN3_LARGE = {
    **_QWEN3_SMALL,
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}
MODELS = {
    model.name: model
    for model in (
        Model(
            DEFAULT_MODEL,
            "qwen2_5_vl",
            _QWEN2_5,
            "default, but for hidden_size (unverified: 1280)",
            {
                "hidden_size": 3584,
                "intermediate_size": 18944,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_key_value_heads": 4,
                "max_window_layers": 28,
            },
        ),
        Model(
            "qwen2.5-vl-3b",
            "qwen2_5_vl",
            {**_QWEN2_5, "out_hidden_size": 2048},
            "unverified: as 7B, projected to 2048",
        ),
        Model(
            "qwen2.5-vl-32b",
            "qwen2_5_vl",
            {**_QWEN2_5, "intermediate_size": 3456, "out_hidden_size": 5120},
            "unverified: as 7B, MLP of 3456, projected to 5120",
        ),
        Model(
            "qwen2.5-vl-72b",
            "qwen2_5_vl",
            {**_QWEN2_5, "intermediate_size": 3456, "out_hidden_size": 8192},
            "unverified: as 7B, MLP of 3456, projected to 8192",
        ),
        Model(
            "qwen2.5-omni-7b",
            "qwen2_5_omni",
            _QWEN2_5,
            "default, but for hidden_size (unverified: 1280)",
        ),
        Model(
            "qwen2-vl-2b",
            "qwen2_vl",
            {**_QWEN2, "hidden_size": 1536},
            "unverified: as 7B, projected to 1536",
        ),
        Model("qwen2-vl-7b", "qwen2_vl", {**_QWEN2, "hidden_size": 3584}, "default"),
        Model(
            "qwen3-vl-2b",
            "qwen3_vl",
            {**_QWEN3_SMALL, "out_hidden_size": 2048},
            "unverified: 24 blocks of 1024, deepstack after 5, 11 and 17",
        ),
        Model(
            "qwen3-vl-4b",
            "qwen3_vl",
            {**_QWEN3_SMALL, "out_hidden_size": 2560},
            "unverified: as 2B, projected to 2560",
        ),
        Model(
            "qwen3-vl-8b",
            "qwen3_vl",
            {**_QWEN3_LARGE, "out_hidden_size": 4096},
            "default, but for out_hidden_size (unverified)",
        ),
        Model(
            "qwen3-vl-32b",
            "qwen3_vl",
            {**_QWEN3_LARGE, "out_hidden_size": 5120},
            "default, but for out_hidden_size (unverified)",
        ),
        Model(
            "qwen3-vl-30b-a3b",
            "qwen3_vl_moe",
            {**_QWEN3_LARGE, "out_hidden_size": 2048},
            "default, but for out_hidden_size (unverified)",
        ),
        Model(
            "trained-vit-s",
            "qwen3_vl",
            {
                "depth": 12,
                "hidden_size": 384,
                "num_heads": 6,
                "intermediate_size": 1536,
                "hidden_act": "gelu",
                "patch_size": 14,
                "num_position_embeddings": 37**2,
                "deepstack_visual_indexes": [2, 5, 8],
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "out_hidden_size": 384,
            },
            "no released model: a ViT-S/14 with trained weights in Qwen3-VL's tower",
            trained=True,
        ),
    )
}
FAMILIES |= {
    name: Family(
        *(name, name, *tower.oracle.partition(":")[::2], "", tower.model_type),
        path=(),
        prefixes=("",),
    )
    for name, tower in TOWERS.items()
}
MODELS |= {n: Model(n, n, recipe_of(t), "made up, small") for n, t in TOWERS.items()}


def get(name: str) -> Model:
    """The model of that name, or an error that names the closest."""
    own = f" For its weights: `--checkpoint {name}`." if "/" in name else ""
    return known("model", name, MODELS, own)


def family_of(config: Any) -> Family:
    """The family of a vision configuration."""
    for family in FAMILIES.values():
        if config.model_type in family.vision_types:
            return family
    raise MmparityError(f"no tower is known for {config.model_type!r}.")


def width(config: Any) -> int:
    """Width of the blocks; Qwen2-VL's ``hidden_size`` is that of its output."""
    return int(getattr(config, "embed_dim", None) or config.hidden_size)


def head_size(config: Any) -> int:
    """True head size, without padding."""
    return width(config) // int(config.num_heads)
