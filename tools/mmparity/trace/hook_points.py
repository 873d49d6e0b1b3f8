# SPDX-License-Identifier: Apache-2.0
"""The canonical hook points of vision encoders: Qwen-VL's here, others' as described.

Every implementation's tensors are recorded under these names and layouts, in
this order. Data only: it must import without torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mmparity.errors import MmparityError
from mmparity.workload.models import Architecture
from mmparity.workload.towers import TOWERS

Kind = Literal["integer", "control", "float"]
"""integer: equal in value and in dtype, or wrong. control: computed from the grid
alone, before any weight. float: activations."""
Place = Literal["", "host", "encoder"]

BLOCK = "blocks.{i}"
DEEPSTACK = "deepstack_merger_list.{i}"
_NUMBER = re.compile(r"^(blocks|deepstack_merger_list|result|given)\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class HookPoint:
    """One canonical tensor.

    Attributes:
        name: with ``{i}`` for the number of the block or the merger.
        kind: how strictly it is compared.
        layout: its dimensions; T patches, D width, h heads, d head size.
        about: what it is, in a few words.
        sharded: the dimension of which each rank of a tensor-parallel encoder
            holds a part; None where every rank holds the whole.
        parts: so many parts lie side by side in that dimension, and each rank
            holds its share of each.
        place: where operators read it, the host or the encoder's device; empty
            where that does not matter.
    """

    name: str
    kind: Kind
    layout: str
    about: str
    sharded: int | None = None
    parts: int = 1
    place: Place = ""


PATCH_EMBED = HookPoint("patch_embed", "float", "[T, D]", "embedded patches")
WINDOW_INDEX = HookPoint(
    "window_index", "integer", "[T/4]", "window order of merged patches"
)
POS_EMBED = HookPoint("pos_embeds", "float", "[T, D]", "learned positions, resized")
START = (
    HookPoint("embeddings", "float", "[T, D]", "input of the first block"),
    HookPoint("rotary.cos", "control", "[T, d/2]", "cosine, in the blocks' order"),
    HookPoint("rotary.sin", "control", "[T, d/2]", "sine, in the blocks' order"),
)
LENGTHS = (
    HookPoint(
        f"{BLOCK}.cu_seqlens",
        "integer",
        "[sequences + 1]",
        "offsets of sequences, for FlashAttention",
        place="encoder",
    ),
    HookPoint(f"{BLOCK}.max_seqlen", "integer", "[1]", "longest of them", place="host"),
    HookPoint(
        f"{BLOCK}.seqlens",
        "integer",
        "[sequences]",
        "lengths attention used",
        place="host",
    ),
)
"""What says where sequences are; each kind of attention operator reads some of it."""
ATTENTION = (
    HookPoint(f"{BLOCK}.norm1", "float", "[T, D]", "norm before attention"),
    HookPoint(f"{BLOCK}.attn.qkv", "float", "[T, 3, h, d]", "projection, unrotated", 2),
    *LENGTHS,
    HookPoint(f"{BLOCK}.attn.q", "float", "[T, h, d]", "query, rotated", 1),
    HookPoint(f"{BLOCK}.attn.k", "float", "[T, h, d]", "key, rotated", 1),
    HookPoint(f"{BLOCK}.attn.v", "float", "[T, h, d]", "value", 1),
    HookPoint(f"{BLOCK}.attn.context", "float", "[T, h, d]", "attention's result", 1),
    HookPoint(f"{BLOCK}.attn.proj", "float", "[T, D]", "output projection"),
    HookPoint(f"{BLOCK}.attn_residual", "float", "[T, D]", "block input + attention"),
    HookPoint(f"{BLOCK}.norm2", "float", "[T, D]", "norm before the MLP"),
)
GATED_MLP = (
    HookPoint(
        f"{BLOCK}.mlp.gate_up_proj", "float", "[T, 2 m]", "gate, then up", 1, parts=2
    ),
    HookPoint(f"{BLOCK}.mlp.act_fn", "float", "[T, m]", "MLP's activation", 1),
    HookPoint(f"{BLOCK}.mlp.down_proj", "float", "[T, D]", "MLP output"),
)
QWEN2_MLP = (
    HookPoint(f"{BLOCK}.mlp.fc1", "float", "[T, m]", "first projection", 1),
    HookPoint(f"{BLOCK}.mlp.act", "float", "[T, m]", "quick GELU", 1),
    HookPoint(f"{BLOCK}.mlp.fc2", "float", "[T, D]", "MLP output"),
)
QWEN3_MLP = (
    HookPoint(f"{BLOCK}.mlp.linear_fc1", "float", "[T, m]", "first projection", 1),
    HookPoint(f"{BLOCK}.mlp.act_fn", "float", "[T, m]", "MLP's activation", 1),
    HookPoint(f"{BLOCK}.mlp.linear_fc2", "float", "[T, D]", "MLP output"),
)
OUTPUT = (HookPoint(BLOCK, "float", "[T, D]", "block output"),)
MERGER = (
    HookPoint("merger.ln_q", "float", "[T, D]", "norm before merging"),
    HookPoint("merger.mlp.0", "float", "[T/4, 4 D]", "first projection", 1),
    HookPoint("merger.mlp.1", "float", "[T/4, 4 D]", "GELU", 1),
    HookPoint("merger.mlp.2", "float", "[T/4, out]", "second projection"),
)
LAST = (HookPoint("last_hidden_state", "float", "[T/4, out]", "tower's, image order"),)
RESULT, GIVEN = "result", "given"
OF_MODEL = (
    HookPoint(f"{RESULT}.{{i}}", "float", "[t, out]", "model's result for an item"),
    HookPoint(f"{GIVEN}.{{i}}", "float", "[t, out]", "its result for given embeddings"),
)
"""Of the model around the tower, for each image or clip."""


def _qwen3_merger(place: str, norm: str) -> tuple[HookPoint, ...]:
    return (
        HookPoint(f"{place}.norm", "float", norm, "norm of the merger"),
        HookPoint(f"{place}.linear_fc1", "float", "[T/4, 4 D]", "first projection", 1),
        HookPoint(f"{place}.act_fn", "float", "[T/4, 4 D]", "GELU", 1),
        HookPoint(f"{place}.linear_fc2", "float", "[T/4, out]", "second projection"),
    )


_DEEPSTACK = _qwen3_merger(DEEPSTACK, "[T/4, 4 D]")


@dataclass(frozen=True)
class Order:
    """The hook points of one architecture, in order of execution."""

    before: tuple[HookPoint, ...]
    in_block: tuple[HookPoint, ...]
    after: tuple[HookPoint, ...]
    in_deepstack: tuple[HookPoint, ...] = ()

    @property
    def all(self) -> tuple[HookPoint, ...]:
        """Each once."""
        return self.before + self.in_block + self.in_deepstack + self.after


ARCHITECTURES: dict[Architecture, Order] = {
    "qwen2_vl": Order(
        (PATCH_EMBED, *START), ATTENTION + QWEN2_MLP + OUTPUT, MERGER + LAST
    ),
    "qwen2_5_vl": Order(
        (PATCH_EMBED, WINDOW_INDEX, *START),
        ATTENTION + GATED_MLP + OUTPUT,
        MERGER + LAST,
    ),
    "qwen3_vl": Order(
        (PATCH_EMBED, POS_EMBED, *START),
        ATTENTION + QWEN3_MLP + OUTPUT,
        _qwen3_merger("merger", "[T, D]") + LAST,
        _DEEPSTACK,
    ),
}
_OF_QWEN = {p.name: p for order in ARCHITECTURES.values() for p in order.all}


def _point(name: str) -> HookPoint:
    """A described tower's: that of the same name in Qwen-VL, or the tower's own."""
    known = _OF_QWEN.get(name)
    return known or HookPoint(name, "float", "[T, ...]", "a part of its tower alone")


def _order(names: Iterable[str]) -> Order:
    """Hook points in order of execution, before, in and after the blocks."""
    parts: tuple[list[HookPoint], ...] = ([], [], [])
    for name in names:
        inside = name == BLOCK or name.startswith(f"{BLOCK}.")
        parts[1 if inside else 2 if parts[1] else 0].append(_point(name))
    return Order(*map(tuple, parts))


ARCHITECTURES |= {name: _order(tower.hook_points) for name, tower in TOWERS.items()}
_DEFAULT: Architecture = "qwen2_5_vl"
HOOK_POINTS = (*ARCHITECTURES[_DEFAULT].all, *OF_MODEL)
_BY_NAME = {
    point.name: point
    for points in (*(order.all for order in ARCHITECTURES.values()), OF_MODEL)
    for point in points
}


def every() -> tuple[HookPoint, ...]:
    """The hook points of all architectures, each name once."""
    return tuple(_BY_NAME.values())


def expand(
    depth: int,
    architecture: Architecture = _DEFAULT,
    deepstack: int = 0,
    items: int = 0,
) -> tuple[str, ...]:
    """The names for an encoder of ``depth`` blocks, in order of execution.

    The ``deepstack`` mergers run between blocks; they come after all of them here.
    ``items``: the images or clips that the model around it has results for.
    """
    order = ARCHITECTURES[architecture]
    blocks = tuple(
        point.name.format(i=number)
        for number in range(depth)
        for point in order.in_block
    )
    mergers = tuple(
        point.name.format(i=number)
        for number in range(deepstack)
        for point in order.in_deepstack
    )
    before = tuple(point.name for point in order.before)
    model = tuple(
        point.name.format(i=number) for point in OF_MODEL for number in range(items)
    )
    return before + blocks + mergers + tuple(p.name for p in order.after) + model


def is_of_model(name: str) -> bool:
    """Whether a hook point is of the model around the tower."""
    return name.partition(".")[0] in (RESULT, GIVEN)


def number_of(name: str) -> int | None:
    """What stands for ``{i}`` in the name of a hook point or a module."""
    match = _NUMBER.match(name)
    return int(match.group(2)) if match else None


def block_number(name: str) -> int | None:
    """The block that a hook point or a module belongs to."""
    return number_of(name) if name.startswith("blocks.") else None


def pattern_of(name: str) -> str:
    """The name with ``{i}`` in place of the number."""
    return _NUMBER.sub(r"\1.{i}", name)


def misplaced(name: str, device: str, encoder: str) -> str | None:
    """Why a tensor's device is not where operators read it; devices by their type."""
    point = _BY_NAME.get(pattern_of(name))
    if point is None or not point.place:
        return None
    wanted = "cpu" if point.place == "host" else encoder
    if device == wanted:
        return None
    return f"it is on {device}, and operators read it on {wanted}, the {point.place}'s"


def get(name: str) -> HookPoint:
    """The hook point that a name such as ``blocks.3.attn.q`` stands for."""
    pattern = pattern_of(name)
    if pattern in _BY_NAME:
        return _BY_NAME[pattern]
    close = difflib.get_close_matches(pattern, _BY_NAME, n=1)
    number = number_of(name)
    hint = close[0].format(i=number if number is not None else 0) if close else ""
    raise MmparityError(
        f"there is no hook point {name!r}."
        + (f" Closest: {hint!r}." if hint else "")
        + " All of them: mmparity list hook-points."
    )
