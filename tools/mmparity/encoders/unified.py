# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM 0.12.0's encoders with this repository's series."""

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

_ATTENTION = f"{BLOCK}.attn.attn"
_HEADS = ("squeeze.0",)
_LENGTHS = (
    Tap(f"{BLOCK}.cu_seqlens", "input.cu_seqlens"),
    Tap(f"{BLOCK}.max_seqlen", "input.max_seqlen", ("scalar",)),
)
_NATIVE = (
    *_LENGTHS,
    Tap(f"{BLOCK}.seqlens", "input.sequence_lengths"),
    Tap(f"{BLOCK}.attn.q", "input.query", _HEADS),
    Tap(f"{BLOCK}.attn.k", "input.key", _HEADS),
    Tap(f"{BLOCK}.attn.v", "input.value", _HEADS),
    Tap(f"{BLOCK}.attn.context", "output", _HEADS),
)


def hook_map(subject: TowerKind) -> HookMap:
    """The name map.

    On Ascend q, k, v and context are taken inside MMEncoderAttention, from the
    NPU's operator, so that the heads it pads are seen and checked; cos and sin
    come in that platform's layout, [1, T, 1, d]. Heads that the weights pad have
    zeros after each half. In float32, which that operator lacks, they are taken
    where AscendMMEncoderAttention turns to native attention instead.
    """
    modules: Modules = {
        **vllm_0_12.MODULES[subject.architecture],
        f"{BLOCK}.attn": vllm_0_12.CONTAINER,
        f"{BLOCK}.attn.apply_rotary_emb": Declared("taken as attn.q and attn.k"),
        _ATTENTION: _NATIVE,
    }
    before = vllm_0_12.BEFORE_BLOCKS[subject.architecture]
    if not subject.ascend:
        return subject.hook_map(modules, *before)
    layout = ("squeeze.2", "squeeze.0", "unpad_halves", "fold_halves")
    modules |= {
        _ATTENTION: _LENGTHS,
        "blocks.0": (
            Tap("embeddings", "input.0", ROW),
            Tap("rotary.cos", "input.rotary_pos_emb_cos", layout),
            Tap("rotary.sin", "input.rotary_pos_emb_sin", layout),
        ),
    }
    padding = "unpad_halves" if subject.pad_weights else "unpad_tail"
    operator = vllm_0_12.flash_attention_unpad(_ATTENTION, padding)
    if subject.native_attention:
        operator = _native_operator(padding)
    return subject.hook_map(modules, *before, operator)


def _native_operator(padding: str) -> OperatorTap:
    heads = (*_HEADS, padding)
    return OperatorTap(
        target="vllm.attention.layers.mm_encoder_attention:vit_torch_sdpa_wrapper",
        inside=_ATTENTION,
        parameters=("q", "k", "v", "cu_seqlens", "scale", "sequence_lengths"),
        taps=(
            Tap(f"{BLOCK}.seqlens", "input.sequence_lengths"),
            Tap(f"{BLOCK}.attn.q", "input.q", heads),
            Tap(f"{BLOCK}.attn.k", "input.k", heads),
            Tap(f"{BLOCK}.attn.v", "input.v", heads),
            Tap(f"{BLOCK}.attn.context", "output", heads),
        ),
        scale="scale",
    )
