# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM's encoders with vllm-ascend 0.30.0rc2's operators."""

from __future__ import annotations

from mmparity.encoders import vllm_0_12, vllm_0_13
from mmparity.encoders.rules import HookMap, Modules, OperatorTap, Tap, TowerKind
from mmparity.encoders.vllm_0_12 import BLOCK
from mmparity.workload.implementation import FLOAT32_NOTE


def hook_map(subject: TowerKind) -> HookMap:
    """The name map: q, k, v and context at the NPU's operator, whose heads are padded.

    It is handed offsets as a list on the host, so those are taken at the module.
    """
    modules: Modules = {
        **vllm_0_13.modules_of(subject),
        vllm_0_13.ATTENTION: vllm_0_13.LENGTHS,
    }
    operator = OperatorTap(
        target="torch_npu:npu_fused_infer_attention_score",
        inside=vllm_0_13.ATTENTION,
        parameters=("query", "key", "value"),
        taps=(
            Tap(f"{BLOCK}.attn.q", "input.query", ("unpad_tail",)),
            Tap(f"{BLOCK}.attn.k", "input.key", ("unpad_tail",)),
            Tap(f"{BLOCK}.attn.v", "input.value", ("unpad_tail",)),
            Tap(f"{BLOCK}.attn.context", "output.0", ("unpad_tail",)),
        ),
        scale="scale",
        note=FLOAT32_NOTE if subject.native_attention else "",
    )
    before = vllm_0_12.BEFORE_BLOCKS[subject.architecture]
    return subject.hook_map(modules, *before, operator)
