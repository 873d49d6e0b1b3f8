# SPDX-License-Identifier: Apache-2.0
"""The canonical hook points of a Qwen2.5-VL vision encoder.

Every implementation's tensors are recorded under these names and layouts, in
this order. Data only: it must import without torch.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from mmparity.types import MmparityError

Kind = Literal["integer", "control", "float"]
"""integer: bit-equal or wrong. control: computed from the grid alone, before
any weight. float: activations."""

BLOCK = "blocks.{i}"
_BLOCK_NUMBER = re.compile(r"^blocks\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class HookPoint:
    """One canonical tensor.

    Attributes:
        name: with ``{i}`` for the number of the block.
        kind: how strictly it is compared.
        layout: its dimensions; T patches, D width, h heads, d head size.
        about: what it is, in a few words.
    """

    name: str
    kind: Kind
    layout: str
    about: str


BEFORE_BLOCKS = (
    HookPoint("patch_embed", "float", "[T, D]", "embedded patches, image order"),
    HookPoint("window_index", "integer", "[T/4]", "window order of merged patches"),
    HookPoint("embeddings", "float", "[T, D]", "input of the first block"),
    HookPoint("rotary.cos", "control", "[T, d/2]", "cosine, window order"),
    HookPoint("rotary.sin", "control", "[T, d/2]", "sine, window order"),
)
IN_BLOCK = (
    HookPoint(f"{BLOCK}.norm1", "float", "[T, D]", "norm before attention"),
    HookPoint(f"{BLOCK}.attn.qkv", "float", "[T, 3, h, d]", "projection, unrotated"),
    HookPoint(f"{BLOCK}.seqlens", "integer", "[sequences]", "lengths attention used"),
    HookPoint(f"{BLOCK}.attn.q", "float", "[T, h, d]", "query, rotated"),
    HookPoint(f"{BLOCK}.attn.k", "float", "[T, h, d]", "key, rotated"),
    HookPoint(f"{BLOCK}.attn.v", "float", "[T, h, d]", "value"),
    HookPoint(f"{BLOCK}.attn.context", "float", "[T, h, d]", "attention's result"),
    HookPoint(f"{BLOCK}.attn.proj", "float", "[T, D]", "output projection"),
    HookPoint(f"{BLOCK}.attn_residual", "float", "[T, D]", "block input + attention"),
    HookPoint(f"{BLOCK}.norm2", "float", "[T, D]", "norm before the MLP"),
    HookPoint(f"{BLOCK}.mlp.gate_up_proj", "float", "[T, 2 m]", "gate, then up"),
    HookPoint(f"{BLOCK}.mlp.act_fn", "float", "[T, m]", "silu(gate) * up"),
    HookPoint(f"{BLOCK}.mlp.down_proj", "float", "[T, D]", "MLP output"),
    HookPoint(BLOCK, "float", "[T, D]", "block output"),
)
AFTER_BLOCKS = (
    HookPoint("merger.ln_q", "float", "[T, D]", "norm before merging"),
    HookPoint("merger.mlp.0", "float", "[T/4, 4 D]", "first projection"),
    HookPoint("merger.mlp.1", "float", "[T/4, 4 D]", "GELU"),
    HookPoint("merger.mlp.2", "float", "[T/4, out]", "second projection"),
    HookPoint("last_hidden_state", "float", "[T/4, out]", "result, image order"),
)
HOOK_POINTS = BEFORE_BLOCKS + IN_BLOCK + AFTER_BLOCKS
_BY_NAME = {point.name: point for point in HOOK_POINTS}


def expand(depth: int) -> tuple[str, ...]:
    """The names for an encoder of ``depth`` blocks, in order of execution."""
    blocks = tuple(
        point.name.format(i=number) for number in range(depth) for point in IN_BLOCK
    )
    before = tuple(point.name for point in BEFORE_BLOCKS)
    return before + blocks + tuple(point.name for point in AFTER_BLOCKS)


def block_number(name: str) -> int | None:
    """The block that a hook point or a module belongs to."""
    match = _BLOCK_NUMBER.match(name)
    return int(match.group(1)) if match else None


def pattern_of(name: str) -> str:
    """The name with ``{i}`` in place of the number of the block."""
    return _BLOCK_NUMBER.sub(BLOCK, name)


def get(name: str) -> HookPoint:
    """The hook point that a name such as ``blocks.3.attn.q`` stands for."""
    pattern = pattern_of(name)
    if pattern in _BY_NAME:
        return _BY_NAME[pattern]
    close = difflib.get_close_matches(pattern, _BY_NAME, n=1)
    number = block_number(name)
    hint = close[0].format(i=number if number is not None else 0) if close else ""
    raise MmparityError(
        f"there is no hook point {name!r}."
        + (f" Closest: {hint!r}." if hint else "")
        + " All of them: mmparity list hook-points."
    )
