# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM 0.12.0's encoder, as released or monkey-patched."""

from __future__ import annotations

from mmparity.encoders.rules import Declared, HookMap, OperatorTap, Tap

ROW = ("squeeze.1",)
"""[T, 1, D] -> [T, D]: vLLM keeps a batch of one after the tokens."""
BLOCK = "blocks.{i}"
CONTAINER = Declared("container: its output is that of its last part")

MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    "": (Tap("last_hidden_state", "output"),),
    "patch_embed": (Tap("patch_embed", "output"),),
    "patch_embed.proj": Declared("patch_embed only reshapes its output"),
    "blocks.0": (
        Tap("embeddings", "input.0", ROW),
        Tap("rotary.cos", "input.rotary_pos_emb_cos"),
        Tap("rotary.sin", "input.rotary_pos_emb_sin"),
    ),
    BLOCK: (Tap(BLOCK, "output", ROW),),
    f"{BLOCK}.norm1": (Tap(f"{BLOCK}.norm1", "output", ROW),),
    f"{BLOCK}.attn": CONTAINER,
    f"{BLOCK}.attn.qkv": (
        Tap(f"{BLOCK}.attn.qkv", "output.0", (*ROW, "split_qkv", "unpad_halves")),
    ),
    f"{BLOCK}.attn.proj": (Tap(f"{BLOCK}.attn.proj", "output.0", ROW),),
    f"{BLOCK}.norm2": (
        Tap(f"{BLOCK}.attn_residual", "output.1", ROW),
        Tap(f"{BLOCK}.norm2", "output.0", ROW),
    ),
    f"{BLOCK}.mlp": CONTAINER,
    f"{BLOCK}.mlp.gate_up_proj": (Tap(f"{BLOCK}.mlp.gate_up_proj", "output.0", ROW),),
    f"{BLOCK}.mlp.act_fn": Declared("taken as the input of down_proj"),
    f"{BLOCK}.mlp.down_proj": (
        Tap(f"{BLOCK}.mlp.act_fn", "input.0", ROW),
        Tap(f"{BLOCK}.mlp.down_proj", "output.0", ROW),
    ),
    "merger": CONTAINER,
    "merger.ln_q": (Tap("merger.ln_q", "output", ROW),),
    "merger.mlp": CONTAINER,
    "merger.mlp.0": (Tap("merger.mlp.0", "output"),),
    "merger.mlp.1": (Tap("merger.mlp.1", "output"),),
    "merger.mlp.2": (Tap("merger.mlp.2", "output"),),
}

WINDOW_INDEX = OperatorTap(
    target="encoder:invert_permutation",
    inside="",
    parameters=("perm",),
    taps=(Tap("window_index", "input.perm"),),
)
_HEADS = ("squeeze.0",)
SDPA_WRAPPER = OperatorTap(
    target="vllm.model_executor.models.qwen2_5_vl:vit_torch_sdpa_wrapper",
    inside=f"{BLOCK}.attn",
    parameters=("q", "k", "v", "cu_seqlens"),
    taps=(
        Tap(f"{BLOCK}.seqlens", "input.cu_seqlens", ("offsets_to_lengths",)),
        Tap(f"{BLOCK}.attn.q", "input.q", _HEADS),
        Tap(f"{BLOCK}.attn.k", "input.k", _HEADS),
        Tap(f"{BLOCK}.attn.v", "input.v", _HEADS),
        Tap(f"{BLOCK}.attn.context", "output", (*ROW, "split_heads")),
    ),
)


def flash_attention_unpad(inside: str, padding: str) -> OperatorTap:
    """The NPU's attention operator, with the layout of its padded heads."""
    return OperatorTap(
        target="torch_npu:_npu_flash_attention_unpad",
        inside=inside,
        parameters=("query", "key", "value", "seq_len", "scale_value"),
        taps=(
            Tap(f"{BLOCK}.seqlens", "input.seq_len"),
            Tap(f"{BLOCK}.attn.q", "input.query", (padding,)),
            Tap(f"{BLOCK}.attn.k", "input.key", (padding,)),
            Tap(f"{BLOCK}.attn.v", "input.value", (padding,)),
            Tap(f"{BLOCK}.attn.context", "after.out", (padding,)),
        ),
        scale="scale_value",
    )


def hook_map(*, ascend: bool) -> HookMap:
    """The name map; with vllm-ascend's patches the attention operator differs."""
    patched = flash_attention_unpad(f"{BLOCK}.attn", "unpad_tail")
    return HookMap(MODULES, (WINDOW_INDEX, patched if ascend else SDPA_WRAPPER))
