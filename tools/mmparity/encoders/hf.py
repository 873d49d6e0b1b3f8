# SPDX-License-Identifier: Apache-2.0
"""Hook points of transformers' encoder, the oracle."""

from __future__ import annotations

from mmparity.encoders.rules import Declared, HookMap, OperatorTap, Tap
from mmparity.encoders.vllm_0_12 import BLOCK, CONTAINER

_MODELING = "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"
_SEGMENT = ("squeeze.0", "tokens_first")
_ROTARY = ("fold_halves",)

MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    "": (Tap("last_hidden_state", "output"),),
    "patch_embed": (Tap("patch_embed", "output"),),
    "patch_embed.proj": Declared("patch_embed only reshapes its output"),
    "rotary_pos_emb": Declared("angles by position; taken as rotary.cos and .sin"),
    "blocks.0": (
        Tap("embeddings", "input.0"),
        Tap("rotary.cos", "input.position_embeddings.0", _ROTARY),
        Tap("rotary.sin", "input.position_embeddings.1", _ROTARY),
    ),
    BLOCK: (Tap(BLOCK, "output"),),
    f"{BLOCK}.norm1": (Tap(f"{BLOCK}.norm1", "output"),),
    f"{BLOCK}.attn": CONTAINER,
    f"{BLOCK}.attn.qkv": (Tap(f"{BLOCK}.attn.qkv", "output", ("split_qkv",)),),
    f"{BLOCK}.attn.proj": (Tap(f"{BLOCK}.attn.proj", "output"),),
    f"{BLOCK}.norm2": (
        Tap(f"{BLOCK}.attn_residual", "input.0"),
        Tap(f"{BLOCK}.norm2", "output"),
    ),
    f"{BLOCK}.mlp": CONTAINER,
    f"{BLOCK}.mlp.gate_proj": (
        Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(0, 2)),
    ),
    f"{BLOCK}.mlp.up_proj": (Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(1, 2)),),
    f"{BLOCK}.mlp.act_fn": Declared("of the gate alone; taken with up at down_proj"),
    f"{BLOCK}.mlp.down_proj": (
        Tap(f"{BLOCK}.mlp.act_fn", "input.0"),
        Tap(f"{BLOCK}.mlp.down_proj", "output"),
    ),
    "merger": CONTAINER,
    "merger.ln_q": (Tap("merger.ln_q", "output"),),
    "merger.mlp": CONTAINER,
    "merger.mlp.0": (Tap("merger.mlp.0", "output"),),
    "merger.mlp.1": (Tap("merger.mlp.1", "output"),),
    "merger.mlp.2": (Tap("merger.mlp.2", "output"),),
}
OPERATORS = (
    OperatorTap(
        target="encoder:get_window_index",
        inside="",
        parameters=("grid_thw",),
        taps=(Tap("window_index", "output.0"),),
    ),
    OperatorTap(
        target=f"{_MODELING}:ALL_ATTENTION_FUNCTIONS[sdpa]",
        inside=f"{BLOCK}.attn",
        parameters=("module", "query", "key", "value"),
        taps=(
            Tap(f"{BLOCK}.seqlens", "input.query", (*_SEGMENT, "length"), None, True),
            Tap(f"{BLOCK}.attn.q", "input.query", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.k", "input.key", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.v", "input.value", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.context", "output.0", ("squeeze.0",), None, True),
        ),
        scale="scaling",
    ),
)


def hook_map(*, ascend: bool) -> HookMap:
    """The name map."""
    return HookMap(MODULES, OPERATORS)
