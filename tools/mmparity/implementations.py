# SPDX-License-Identifier: Apache-2.0
"""Who is compared: the implementations by name, and the trees each runs from.

Data only. It must import without torch; ``mmparity.encoders`` builds them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from mmparity.types import MmparityError

Family = Literal["ascend_0_11", "vllm_0_12", "unified", "hf"]


@dataclass(frozen=True)
class Implementation:
    """One encoder that can be run.

    Attributes:
        name: what the command line calls it.
        title: one line that says what runs.
        family: the module of ``mmparity.encoders`` with its hook points.
        module: where its classes are.
        tower: class of the vision tower.
        model: class of the model around it, whose input processing is run.
        trees: source -> its folder inside the folder of source trees.
        ascend: vllm-ascend's operators are registered before it is built.
        oracle: it runs in float64, whatever dtype is asked for.
    """

    name: str
    title: str
    family: Family
    module: str
    tower: str
    model: str
    trees: dict[str, str] = field(default_factory=dict)
    ascend: bool = False
    oracle: bool = False

    @property
    def emulates(self) -> bool:
        """torch_npu's operators are emulated when it runs without an NPU."""
        return self.ascend


_OLD_TREES = {"vllm": "vllm-0.11.0", "vllm-ascend": "vllm-ascend-0.11.0"}
_PATCHED_VLLM = "patched/vllm-0.12.0"
_PATCHED_ASCEND = "patched/vllm-ascend-0.12.0rc1"

IMPLEMENTATIONS: dict[str, Implementation] = {
    item.name: item
    for item in (
        Implementation(
            name="ascend-0.11.0",
            title="vllm-ascend 0.11.0's own encoder class, weights padded at load",
            family="ascend_0_11",
            module="vllm_ascend.models.qwen2_5_vl",
            tower="AscendQwen2_5_VisionTransformer",
            model="AscendQwen2_5_VLForConditionalGeneration",
            trees=_OLD_TREES,
            ascend=True,
        ),
        Implementation(
            name="ascend-0.11.0-nopad",
            title="vllm-ascend 0.11.0's own encoder class without padding",
            family="ascend_0_11",
            module="vllm_ascend.models.qwen2_5_vl_without_padding",
            tower="AscendQwen2_5_VisionTransformer_Without_Padding",
            model="AscendQwen2_5_VLForConditionalGeneration_Without_Padding",
            trees=_OLD_TREES,
            ascend=True,
        ),
        Implementation(
            name="ascend-0.12.0rc1",
            title="vLLM 0.12.0's encoder with vllm-ascend 0.12.0rc1's monkey patches",
            family="vllm_0_12",
            module="vllm.model_executor.models.qwen2_5_vl",
            tower="Qwen2_5_VisionTransformer",
            model="Qwen2_5_VLForConditionalGeneration",
            trees={"vllm": "vllm-0.12.0", "vllm-ascend": "vllm-ascend-0.12.0rc1"},
            ascend=True,
        ),
        Implementation(
            name="vllm-0.12.0",
            title="vLLM 0.12.0's encoder as released",
            family="vllm_0_12",
            module="vllm.model_executor.models.qwen2_5_vl",
            tower="Qwen2_5_VisionTransformer",
            model="Qwen2_5_VLForConditionalGeneration",
            trees={"vllm": "vllm-0.12.0"},
        ),
        Implementation(
            name="unified",
            title="vLLM 0.12.0 with this series, native operators",
            family="unified",
            module="vllm.model_executor.models.qwen2_5_vl",
            tower="Qwen2_5_VisionTransformer",
            model="Qwen2_5_VLForConditionalGeneration",
            trees={"vllm": _PATCHED_VLLM},
        ),
        Implementation(
            name="unified-ascend",
            title="vLLM and vllm-ascend with both series, Ascend operators",
            family="unified",
            module="vllm.model_executor.models.qwen2_5_vl",
            tower="Qwen2_5_VisionTransformer",
            model="Qwen2_5_VLForConditionalGeneration",
            trees={"vllm": _PATCHED_VLLM, "vllm-ascend": _PATCHED_ASCEND},
            ascend=True,
        ),
        Implementation(
            name="hf",
            title="transformers' encoder in float64, the oracle",
            family="hf",
            module="transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
            tower="Qwen2_5_VisionTransformerPretrainedModel",
            model="Qwen2_5_VLModel",
            oracle=True,
        ),
    )
}


def get(name: str) -> Implementation:
    """The implementation of that name, or an error that names the closest."""
    if name in IMPLEMENTATIONS:
        return IMPLEMENTATIONS[name]
    close = difflib.get_close_matches(name, IMPLEMENTATIONS, n=1)
    hint = f" Closest: {close[0]!r}." if close else ""
    raise MmparityError(
        f"there is no implementation {name!r}.{hint} "
        f"Known: {', '.join(IMPLEMENTATIONS)} (mmparity list implementations)."
    )
