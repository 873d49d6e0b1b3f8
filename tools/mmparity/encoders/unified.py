# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM 0.12.0's encoder with this repository's series."""

from __future__ import annotations

from mmparity.encoders import vllm_0_12
from mmparity.encoders.rules import Declared, HookMap, Tap
from mmparity.encoders.vllm_0_12 import BLOCK, ROW

_ATTENTION = f"{BLOCK}.attn.attn"
_HEADS = ("squeeze.0",)
_NATIVE = (
    Tap(f"{BLOCK}.seqlens", "input.sequence_lengths"),
    Tap(f"{BLOCK}.attn.q", "input.query", _HEADS),
    Tap(f"{BLOCK}.attn.k", "input.key", _HEADS),
    Tap(f"{BLOCK}.attn.v", "input.value", _HEADS),
    Tap(f"{BLOCK}.attn.context", "output", _HEADS),
)
MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    **vllm_0_12.MODULES,
    f"{BLOCK}.attn.apply_rotary_emb": Declared("taken as attn.q and attn.k"),
    _ATTENTION: _NATIVE,
}


def hook_map(*, ascend: bool) -> HookMap:
    """The name map.

    On Ascend q, k, v and context are taken inside MMEncoderAttention, from the
    NPU's operator, so that the heads it pads are seen and checked; cos and sin
    come in that platform's layout, [1, T, 1, d].
    """
    if not ascend:
        return HookMap(MODULES, (vllm_0_12.WINDOW_INDEX,))
    layout = ("squeeze.2", "squeeze.0", "fold_halves")
    modules = {
        **MODULES,
        _ATTENTION: Declared("taken at the NPU's operator inside"),
        "blocks.0": (
            Tap("embeddings", "input.0", ROW),
            Tap("rotary.cos", "input.rotary_pos_emb_cos", layout),
            Tap("rotary.sin", "input.rotary_pos_emb_sin", layout),
        ),
    }
    operator = vllm_0_12.flash_attention_unpad(_ATTENTION, "unpad_tail")
    return HookMap(modules, (vllm_0_12.WINDOW_INDEX, operator))
