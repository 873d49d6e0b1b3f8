# SPDX-License-Identifier: Apache-2.0
"""Where each implementation has its classes, by the family of the model. Names only."""

from __future__ import annotations

from mmparity.workload.implementation import Classes
from mmparity.workload.models import FAMILIES
from mmparity.workload.towers import TOWERS

_MODELS = "vllm.model_executor.models"
VLLM = {
    "qwen2_vl": Classes(
        f"{_MODELS}.qwen2_vl",
        "Qwen2VisionTransformer",
        "Qwen2VLForConditionalGeneration",
    ),
    "qwen2_5_vl": Classes(
        f"{_MODELS}.qwen2_5_vl",
        "Qwen2_5_VisionTransformer",
        "Qwen2_5_VLForConditionalGeneration",
    ),
    "qwen2_5_omni": Classes(
        f"{_MODELS}.qwen2_5_omni_thinker",
        "Qwen2_5_VisionTransformer",
        "Qwen2_5OmniThinkerForConditionalGeneration",
    ),
    "qwen3_vl": Classes(
        f"{_MODELS}.qwen3_vl",
        "Qwen3_VisionTransformer",
        "Qwen3VLForConditionalGeneration",
    ),
    "qwen3_vl_moe": Classes(
        f"{_MODELS}.qwen3_vl_moe",
        "Qwen3_VisionTransformer",
        "Qwen3VLMoeForConditionalGeneration",
    ),
}
_TOWERS = {
    tower.name: Classes(f"{_MODELS}.{module}", name, name)
    for tower in TOWERS.values()
    for module, _, name in (tower.module.partition(":"),)
}
SERIES = VLLM | _TOWERS
"""What vLLM 0.12.0 has, released and patched."""
_ASCEND = "vllm_ascend.models"
PADDED = {
    "qwen2_vl": Classes(
        f"{_ASCEND}.qwen2_vl",
        "AscendQwen2VisionTransformer",
        "AscendQwen2VLForConditionalGeneration",
    ),
    "qwen2_5_vl": Classes(
        f"{_ASCEND}.qwen2_5_vl",
        "AscendQwen2_5_VisionTransformer",
        "AscendQwen2_5_VLForConditionalGeneration",
    ),
    "qwen2_5_omni": Classes(
        f"{_ASCEND}.qwen2_5_omni_thinker",
        "AscendQwen2_5_VisionTransformer",
        "AscendQwen2_5OmniThinkerForConditionalGeneration",
    ),
}
WITHOUT_PADDING = {
    family: Classes(f"{_ASCEND}.qwen2_5_vl_without_padding", tower, model)
    for family, tower, model in (
        (
            "qwen2_5_vl",
            "AscendQwen2_5_VisionTransformer_Without_Padding",
            "AscendQwen2_5_VLForConditionalGeneration_Without_Padding",
        ),
        (
            "qwen3_vl",
            "AscendQwen3_VisionTransformer",
            "AscendQwen3VLForConditionalGeneration",
        ),
        (
            "qwen3_vl_moe",
            "AscendQwen3_VisionTransformer",
            "AscendQwen3VLMoeForConditionalGeneration",
        ),
    )
}
ORACLE = {
    name: Classes(f"transformers.models.{family.modeling}", family.tower, family.model)
    for name, family in FAMILIES.items()
    if family.tower
}
