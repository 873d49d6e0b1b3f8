# SPDX-License-Identifier: Apache-2.0
"""Hook points of vllm-ascend 0.11.0's own encoder classes.

The padding class pads q, k and v in its weights, as half | pad | half | pad, so
everything from qkv to the attention's context has that layout, and cos and sin
with it. The class without padding has the same names and nothing to un-pad.
"""

from __future__ import annotations

from mmparity.encoders import vllm_0_12
from mmparity.encoders.rules import Declared, HookMap, OperatorTap, Tap
from mmparity.encoders.vllm_0_12 import BLOCK, ROW

_ROTARY = ("squeeze.2", "squeeze.0", "unpad_halves", "fold_halves")

MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    **vllm_0_12.MODULES,
    "rotary_pos_emb": Declared("angles by position; taken as rotary.cos and .sin"),
    "blocks.0": (
        Tap("embeddings", "input.0", ROW),
        Tap("rotary.cos", "input.cos", _ROTARY),
        Tap("rotary.sin", "input.sin", _ROTARY),
    ),
    f"{BLOCK}.norm2": (
        Tap(f"{BLOCK}.attn_residual", "input.0", ROW),
        Tap(f"{BLOCK}.norm2", "output", ROW),
    ),
}
WINDOW_INDEX = OperatorTap(
    target="encoder:get_window_index",
    inside="",
    parameters=("grid_thw",),
    taps=(Tap("window_index", "output.0"),),
)


def hook_map(*, ascend: bool) -> HookMap:
    """The name map."""
    assert ascend, "these classes exist in vllm-ascend only"
    attention = vllm_0_12.flash_attention_unpad(f"{BLOCK}.attn", "unpad_halves")
    return HookMap(MODULES, (WINDOW_INDEX, attention))
