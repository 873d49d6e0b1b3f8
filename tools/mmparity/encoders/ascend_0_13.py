# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM 0.13.0's encoders with vllm-ascend 0.13.0's operators."""

from __future__ import annotations

from mmparity.encoders import vllm_0_12, vllm_0_13
from mmparity.encoders.rules import HookMap, TowerKind


def hook_map(subject: TowerKind) -> HookMap:
    """The name map: lengths, q, k, v and context at the NPU's operator.

    Its heads are padded; offsets are taken at the module, which is given them.
    """
    modules = {
        **vllm_0_13.modules_of(subject),
        vllm_0_13.ATTENTION: vllm_0_12.OFFSETS,
    }
    operator = vllm_0_12.flash_attention_unpad(
        vllm_0_13.ATTENTION, "unpad_tail", stands_in=subject.native_attention
    )
    before = vllm_0_12.BEFORE_BLOCKS[subject.architecture]
    return subject.hook_map(modules, *before, operator)
