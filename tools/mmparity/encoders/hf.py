# SPDX-License-Identifier: Apache-2.0
"""Hook points of transformers' encoders, the oracle."""

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
from mmparity.encoders.vllm_0_12 import BLOCK, CONTAINER, DEEPSTACK, OFFSETS
from mmparity.workload.models import FAMILIES, Architecture

_SEGMENT = ("squeeze.0", "tokens_first")
_ROTARY = ("fold_halves",)


def _output(*places: str) -> Modules:
    """Modules whose output is the hook point of their name."""
    return {place: (Tap(place, "output"),) for place in places}


_COMMON: Modules = {
    "": (Tap("last_hidden_state", "output"),),
    **_output("patch_embed", BLOCK, f"{BLOCK}.norm1", f"{BLOCK}.attn.proj"),
    "patch_embed.proj": Declared("patch_embed only reshapes its output"),
    "rotary_pos_emb": Declared("angles by position; taken as rotary.cos and .sin"),
    "blocks.0": (
        Tap("embeddings", "input.0"),
        Tap("rotary.cos", "input.position_embeddings.0", _ROTARY),
        Tap("rotary.sin", "input.position_embeddings.1", _ROTARY),
    ),
    f"{BLOCK}.attn": OFFSETS,
    f"{BLOCK}.attn.qkv": (Tap(f"{BLOCK}.attn.qkv", "output", ("split_qkv",)),),
    f"{BLOCK}.norm2": (
        Tap(f"{BLOCK}.attn_residual", "input.0"),
        Tap(f"{BLOCK}.norm2", "output"),
    ),
    f"{BLOCK}.mlp": CONTAINER,
    "merger": CONTAINER,
}
_MERGER: Modules = {
    "merger.mlp": CONTAINER,
    **_output("merger.ln_q", "merger.mlp.0", "merger.mlp.1", "merger.mlp.2"),
}
_QWEN3_MERGER = ("norm", "linear_fc1", "act_fn", "linear_fc2")
MODULES: dict[Architecture, Modules] = {
    "qwen2_vl": {
        **_COMMON,
        **_MERGER,
        **_output(f"{BLOCK}.mlp.fc1", f"{BLOCK}.mlp.act", f"{BLOCK}.mlp.fc2"),
    },
    "qwen2_5_vl": {
        **_COMMON,
        **_MERGER,
        f"{BLOCK}.mlp.gate_proj": (
            Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(0, 2)),
        ),
        f"{BLOCK}.mlp.up_proj": (
            Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(1, 2)),
        ),
        f"{BLOCK}.mlp.act_fn": Declared(
            "of the gate alone; taken with up at down_proj"
        ),
        f"{BLOCK}.mlp.down_proj": (
            Tap(f"{BLOCK}.mlp.act_fn", "input.0"),
            Tap(f"{BLOCK}.mlp.down_proj", "output"),
        ),
    },
    "qwen3_vl": {
        **_COMMON,
        DEEPSTACK: CONTAINER,
        **_output(*(f"merger.{name}" for name in _QWEN3_MERGER)),
        **_output(*(f"{DEEPSTACK}.{name}" for name in _QWEN3_MERGER)),
        **_output(f"{BLOCK}.mlp.linear_fc1", f"{BLOCK}.mlp.linear_fc2"),
        f"{BLOCK}.mlp.act_fn": (Tap(f"{BLOCK}.mlp.act_fn", "output"),),
        "pos_embed": Declared("looked up at four corners; taken as pos_embeds"),
    },
}
_OMNI: Modules = {
    "blocks.0": (
        Tap("embeddings", "input.0"),
        Tap("rotary.cos", "input.rotary_pos_emb", ("cos",)),
        Tap("rotary.sin", "input.rotary_pos_emb", ("sin",)),
    ),
    **{
        f"{BLOCK}.attn.{name}": (
            Tap(
                f"{BLOCK}.attn.qkv",
                "output",
                ("one_of_qkv",),
                part=(number, 3),
                join=1,
            ),
        )
        for number, name in enumerate("qkv")
    },
}
"""Qwen2.5-Omni's tower has three projections, and angles instead of cos and sin."""

WINDOW_INDEX = OperatorTap(
    target="encoder:get_window_index",
    inside="",
    parameters=("grid_thw",),
    taps=(Tap("window_index", "output.0"),),
)
BEFORE_BLOCKS = {**vllm_0_12.BEFORE_BLOCKS, "qwen2_5_vl": (WINDOW_INDEX,)}


def attention(modeling: str) -> OperatorTap:
    """What a modeling module calls for each sequence."""
    return OperatorTap(
        target=f"transformers.models.{modeling}:ALL_ATTENTION_FUNCTIONS[sdpa]",
        inside=f"{BLOCK}.attn",
        parameters=("module", "query", "key", "value"),
        taps=(
            Tap(
                f"{BLOCK}.seqlens",
                "input.query",
                (*_SEGMENT, "length"),
                segments=True,
            ),
            Tap(f"{BLOCK}.attn.q", "input.query", _SEGMENT, segments=True),
            Tap(f"{BLOCK}.attn.k", "input.key", _SEGMENT, segments=True),
            Tap(f"{BLOCK}.attn.v", "input.value", _SEGMENT, segments=True),
            Tap(f"{BLOCK}.attn.context", "output.0", ("squeeze.0",), segments=True),
        ),
        scale="scaling",
    )


def hook_map(subject: TowerKind) -> HookMap:
    """The name map; vLLM appends deepstack's results to the tower's output."""
    modules = dict(MODULES[subject.architecture])
    if subject.family == "qwen2_5_omni":
        modules |= _OMNI
    if subject.architecture == "qwen3_vl":
        count = 1 + subject.deepstack
        places = ["output.0", *(f"output.1.{i}" for i in range(subject.deepstack))]
        modules[""] = tuple(
            Tap("last_hidden_state", place, part=(number, count))
            for number, place in enumerate(places)
        )
    operator = attention(FAMILIES[subject.family].modeling)
    return subject.hook_map(modules, *BEFORE_BLOCKS[subject.architecture], operator)
