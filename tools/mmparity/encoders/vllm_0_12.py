# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM 0.12.0's encoders, as released or monkey-patched."""

from __future__ import annotations

from mmparity.encoders.rules import (
    Declared,
    HookMap,
    Modules,
    OperatorTap,
    Tap,
    TowerKind,
)
from mmparity.workload.implementation import FLOAT32_NOTE
from mmparity.workload.models import Architecture

ROW = ("squeeze.1",)
"""[T, 1, D] -> [T, D]: vLLM keeps a batch of one after the tokens."""
BLOCK = "blocks.{i}"
DEEPSTACK = "deepstack_merger_list.{i}"
CONTAINER = Declared("container: its output is that of its last part")
OFFSETS = (
    Tap(f"{BLOCK}.cu_seqlens", "input.cu_seqlens"),
    Tap(f"{BLOCK}.max_seqlen", "input.cu_seqlens", ("offsets_to_lengths", "longest")),
)
"""Of an attention that is given offsets. Its ``max_seqlen`` is computed for
FlashAttention only, and is 0 or absent elsewhere: here it is what it would be."""

_COMMON: Modules = {
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
    f"{BLOCK}.attn": OFFSETS,
    f"{BLOCK}.attn.qkv": (
        Tap(f"{BLOCK}.attn.qkv", "output.0", (*ROW, "split_qkv", "unpad_halves")),
    ),
    f"{BLOCK}.attn.proj": (Tap(f"{BLOCK}.attn.proj", "output.0", ROW),),
    f"{BLOCK}.mlp": CONTAINER,
}
PLAIN_NORM2 = (
    Tap(f"{BLOCK}.attn_residual", "input.0", ROW),
    Tap(f"{BLOCK}.norm2", "output", ROW),
)
_MERGER: Modules = {
    "merger": CONTAINER,
    "merger.ln_q": (Tap("merger.ln_q", "output", ROW),),
    "merger.mlp": CONTAINER,
    "merger.mlp.0": (Tap("merger.mlp.0", "output"),),
    "merger.mlp.1": (Tap("merger.mlp.1", "output"),),
    "merger.mlp.2": (Tap("merger.mlp.2", "output"),),
}


def _qwen3_merger(place: str, norm: tuple[str, ...]) -> Modules:
    return {
        place: CONTAINER,
        f"{place}.norm": (Tap(f"{place}.norm", "output", norm),),
        f"{place}.linear_fc1": (Tap(f"{place}.linear_fc1", "output.0"),),
        f"{place}.act_fn": (Tap(f"{place}.act_fn", "output"),),
        f"{place}.linear_fc2": (Tap(f"{place}.linear_fc2", "output.0"),),
    }


MODULES: dict[Architecture, Modules] = {
    "qwen2_vl": {
        **_COMMON,
        **_MERGER,
        "merger.mlp.0": (Tap("merger.mlp.0", "output.0"),),
        "merger.mlp.2": (Tap("merger.mlp.2", "output.0"),),
        f"{BLOCK}.norm2": PLAIN_NORM2,
        f"{BLOCK}.mlp.fc1": (Tap(f"{BLOCK}.mlp.fc1", "output.0", ROW),),
        f"{BLOCK}.mlp.act": (Tap(f"{BLOCK}.mlp.act", "output", ROW),),
        f"{BLOCK}.mlp.fc2": (Tap(f"{BLOCK}.mlp.fc2", "output.0", ROW),),
    },
    "qwen2_5_vl": {
        **_COMMON,
        **_MERGER,
        f"{BLOCK}.norm2": (
            Tap(f"{BLOCK}.attn_residual", "output.1", ROW),
            Tap(f"{BLOCK}.norm2", "output.0", ROW),
        ),
        f"{BLOCK}.mlp.gate_up_proj": (
            Tap(f"{BLOCK}.mlp.gate_up_proj", "output.0", ROW),
        ),
        f"{BLOCK}.mlp.act_fn": Declared("taken as the input of down_proj"),
        f"{BLOCK}.mlp.down_proj": (
            Tap(f"{BLOCK}.mlp.act_fn", "input.0", ROW),
            Tap(f"{BLOCK}.mlp.down_proj", "output.0", ROW),
        ),
    },
    "qwen3_vl": {
        **_COMMON,
        **_qwen3_merger("merger", ROW),
        **_qwen3_merger(DEEPSTACK, ()),
        "pos_embed": Declared("looked up for each image; taken resized, as pos_embeds"),
        f"{BLOCK}.norm2": PLAIN_NORM2,
        f"{BLOCK}.mlp.linear_fc1": (Tap(f"{BLOCK}.mlp.linear_fc1", "output", ROW),),
        f"{BLOCK}.mlp.act_fn": Declared("taken as the input of linear_fc2"),
        f"{BLOCK}.mlp.linear_fc2": (
            Tap(f"{BLOCK}.mlp.act_fn", "input.0", ROW),
            Tap(f"{BLOCK}.mlp.linear_fc2", "output", ROW),
        ),
    },
}

WINDOW_INDEX = OperatorTap(
    target="encoder:invert_permutation",
    inside="",
    parameters=("perm",),
    taps=(Tap("window_index", "input.perm"),),
)
POS_EMBEDS = OperatorTap(
    target="encoder:fast_pos_embed_interpolate",
    inside="",
    parameters=("grid_thw",),
    taps=(Tap("pos_embeds", "output"),),
)
BEFORE_BLOCKS: dict[Architecture, tuple[OperatorTap, ...]] = {
    "qwen2_vl": (),
    "qwen2_5_vl": (WINDOW_INDEX,),
    "qwen3_vl": (POS_EMBEDS,),
}
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
_SEGMENT = ("squeeze.0", "tokens_first")
SDPA = OperatorTap(
    target="torch.nn.functional:scaled_dot_product_attention",
    inside=f"{BLOCK}.attn",
    parameters=("query", "key", "value"),
    taps=(
        Tap(f"{BLOCK}.seqlens", "input.query", (*_SEGMENT, "length"), segments=True),
        Tap(f"{BLOCK}.attn.q", "input.query", _SEGMENT, segments=True),
        Tap(f"{BLOCK}.attn.k", "input.key", _SEGMENT, segments=True),
        Tap(f"{BLOCK}.attn.v", "input.value", _SEGMENT, segments=True),
        Tap(f"{BLOCK}.attn.context", "output", _SEGMENT, segments=True),
    ),
    scale="scale",
)
"""Qwen2-VL's released attention calls it for each sequence."""


def flash_attention_unpad(
    inside: str, padding: str, lengths: tuple[str, ...] = (), *, stands_in: bool = False
) -> OperatorTap:
    """The NPU's attention operator, with the layout of its padded heads."""
    return OperatorTap(
        note=FLOAT32_NOTE if stands_in else "",
        target="torch_npu:_npu_flash_attention_unpad",
        inside=inside,
        parameters=("query", "key", "value", "seq_len", "scale_value"),
        taps=(
            Tap(f"{BLOCK}.seqlens", "input.seq_len", lengths),
            Tap(f"{BLOCK}.attn.q", "input.query", (padding,)),
            Tap(f"{BLOCK}.attn.k", "input.key", (padding,)),
            Tap(f"{BLOCK}.attn.v", "input.value", (padding,)),
            Tap(f"{BLOCK}.attn.context", "after.out", (padding,)),
        ),
        scale="scale_value",
    )


def hook_map(subject: TowerKind) -> HookMap:
    """The name map; with vllm-ascend's patches the attention operator differs."""
    attention = SDPA if subject.architecture == "qwen2_vl" else SDPA_WRAPPER
    if subject.ascend:
        attention = flash_attention_unpad(
            f"{BLOCK}.attn", "unpad_tail", stands_in=subject.native_attention
        )
    before = BEFORE_BLOCKS[subject.architecture]
    return subject.hook_map(MODULES[subject.architecture], *before, attention)
