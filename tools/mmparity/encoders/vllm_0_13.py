# SPDX-License-Identifier: Apache-2.0
"""Hook points of vLLM's encoders from 0.13.0 on, with its own MMEncoderAttention.

q, k, v and the context are that module's inputs and output. It is given offsets;
lengths and the longest of them are computed here, where a backend does not ask for
them.
"""

from __future__ import annotations

from mmparity.encoders import vllm_0_12
from mmparity.encoders.rules import Declared, HookMap, Modules, Tap, TowerKind
from mmparity.encoders.vllm_0_12 import BLOCK

ATTENTION = f"{BLOCK}.attn.attn"
_HEADS = ("squeeze.0",)
LENGTHS = (
    *vllm_0_12.OFFSETS,
    Tap(f"{BLOCK}.seqlens", "input.cu_seqlens", ("offsets_to_lengths",)),
)
_NATIVE = (
    *LENGTHS,
    Tap(f"{BLOCK}.attn.q", "input.query", _HEADS),
    Tap(f"{BLOCK}.attn.k", "input.key", _HEADS),
    Tap(f"{BLOCK}.attn.v", "input.value", _HEADS),
    Tap(f"{BLOCK}.attn.context", "output", _HEADS),
)


def modules_of(subject: TowerKind) -> Modules:
    """What is taken at modules, with native attention."""
    return {
        **vllm_0_12.MODULES[subject.architecture],
        "input_norm": Declared("scales raw pixels; these are scaled already"),
        f"{BLOCK}.attn": vllm_0_12.CONTAINER,
        f"{BLOCK}.attn.apply_rotary_emb": Declared("taken as attn.q and attn.k"),
        ATTENTION: _NATIVE,
    }


def hook_map(subject: TowerKind) -> HookMap:
    """The name map."""
    before = vllm_0_12.BEFORE_BLOCKS[subject.architecture]
    return subject.hook_map(modules_of(subject), *before)
