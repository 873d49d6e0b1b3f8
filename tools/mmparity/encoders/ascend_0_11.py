# SPDX-License-Identifier: Apache-2.0
"""Hook points of vllm-ascend 0.11.0's own encoder classes.

The padding classes pad q, k and v in their weights, as half | pad | half | pad, so
everything from qkv to the attention's context has that layout, and cos and sin
with it. The classes without padding have the same names and nothing to un-pad.
"""

from __future__ import annotations

from mmparity.encoders import vllm_0_12
from mmparity.encoders.rules import (
    Declared,
    HookMap,
    Modules,
    OperatorTap,
    Tap,
    TowerKind,
)
from mmparity.encoders.vllm_0_12 import BLOCK, ROW

_LENGTHS = "input.cu_seqlens"
"""Despite its name: these classes hand lengths to their attention."""
_ROTARY = ("squeeze.2", "squeeze.0", "unpad_halves", "fold_halves")

CHANGES: Modules = {
    "rotary_pos_emb": Declared("angles by position; taken as rotary.cos and .sin"),
    "blocks.0": (
        Tap("embeddings", "input.0", ROW),
        Tap("rotary.cos", "input.cos", _ROTARY),
        Tap("rotary.sin", "input.sin", _ROTARY),
    ),
    f"{BLOCK}.norm2": vllm_0_12.PLAIN_NORM2,
}
WINDOW_INDEX = OperatorTap(
    target="encoder:get_window_index",
    inside="",
    parameters=("grid_thw",),
    taps=(Tap("window_index", "output.0"),),
)


def hook_map(subject: TowerKind) -> HookMap:
    """The name map; Qwen3-VL's class hands the operator an empty sequence first."""
    assert subject.ascend, "these classes exist in vllm-ascend only"
    modules: Modules = {**vllm_0_12.MODULES[subject.architecture], **CHANGES}
    before = vllm_0_12.BEFORE_BLOCKS[subject.architecture]
    lengths: tuple[str, ...] = ()
    if subject.architecture == "qwen2_5_vl":
        before = (WINDOW_INDEX,)
    elif subject.architecture == "qwen3_vl":
        lengths = ("drop_empty",)
    modules[f"{BLOCK}.attn"] = (
        Tap(f"{BLOCK}.cu_seqlens", _LENGTHS, (*lengths, "lengths_to_offsets")),
        Tap(f"{BLOCK}.max_seqlen", _LENGTHS, (*lengths, "longest")),
    )
    attention = vllm_0_12.flash_attention_unpad(
        f"{BLOCK}.attn", "unpad_halves", lengths, stands_in=subject.native_attention
    )
    return subject.hook_map(modules, *before, attention)
