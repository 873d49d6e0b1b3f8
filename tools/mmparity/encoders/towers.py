# SPDX-License-Identifier: Apache-2.0
"""The name maps of described towers. Data only: it must import without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmparity.encoders import hf, vllm_0_12
from mmparity.encoders.rules import HookMap, Modules, OperatorTap, Tap
from mmparity.workload.towers import (
    ATTENTION,
    BLOCK,
    QKV,
    STAR,
    Places,
    Tower,
    expanded,
)

OTHERS = "what it makes is taken with the next hook point"
ORACLE = "hf"
EACH = "each "
"""Of a place that is called for each image."""
TOKENS, HEADS = ("tokens",), ("heads",)
MASKED = "masked"
"""Of an operator that is called once, with a mask for packed sequences."""


def hook_map(tower: Tower, implementation: str, *, ascend: bool) -> HookMap:
    """The name map of a tower, by the ``hook_maps`` of an implementation.

    With ``ascend``, places of its operators come last.
    """
    oracle = implementation == ORACLE
    places: Places = dict(tower.points)
    places |= tower.oracle_points if oracle else tower.at.get(implementation, {})
    places |= tower.at.get("ascend", {}) if ascend else {}
    blocks = (tower.oracle_blocks if oracle else "") or tower.blocks
    found = _Map(tower, blocks)
    for key, place in places.items():
        found.add(key, place)
    return HookMap(
        found.modules,
        tuple(found.operators),
        tower.name,
        lists=(blocks,),
        others=OTHERS,
        absent=found.absent,
    )


class _Map:
    """A name map as it grows, point by point."""

    def __init__(self, tower: Tower, blocks: str) -> None:
        self.tower, self.blocks = tower, blocks
        self.modules: Modules = {}
        self.operators: list[OperatorTap] = []
        self.absent: dict[str, str] = {}

    def add(self, key: str, place: str | list[str]) -> None:
        """Takes one entry of ``points``."""
        name = STAR.sub(BLOCK, key)
        if isinstance(place, list) and name.endswith("attn"):
            for one, there in zip(ATTENTION, place, strict=True):
                self.add(key.removesuffix("attn") + one, there)
        elif isinstance(place, list):
            for number, one in enumerate(place):
                part = (number, len(place))
                layout = ("tokens", "one_of_qkv") if name.endswith(QKV) else TOKENS
                join = 1 if name.endswith(QKV) else -1
                path, tap = self._tap(name, one, layout)
                self._put(path, replace(tap, part=part, join=join))
        elif place.startswith("- "):
            for one in expanded(key, packed=self.tower.packed):
                self.absent[one] = place[2:]
        elif name.endswith("attn"):
            self._add_attention(name, place)
        else:
            layout = ("tokens", "split_qkv") if name.endswith(QKV) else TOKENS
            self._put(*self._tap(name, place, layout))

    def _add_attention(self, name: str, place: str) -> None:
        """Query, key, value and context, of a module or of an operator inside one."""
        kind, _, inside = place.rpartition(" ")
        path, head = self._path(inside), name.removesuffix("attn")
        masked, packed = kind.startswith(MASKED), self.tower.packed
        if masked and packed:
            self.absent[f"{head}seqlens"] = "a dense mask says where sequences are"
        if kind:
            modeling = self.tower.oracle.partition(":")[0]
            interface = kind.endswith("interface")
            operator = hf.attention(modeling) if interface else vllm_0_12.SDPA
            context = Tap(f"{name}.context", "output", ("heads_last",), segments=packed)
            if interface:
                context = replace(context, take="output.0", layout=HEADS)
            taps = [*_queries(name, ("heads_last",), packed), context]
            if packed and not masked:
                length = ("heads_last", "length")
                taps.insert(
                    0, Tap(f"{head}seqlens", "input.query", length, segments=True)
                )
            self.operators.append(replace(operator, inside=path, taps=tuple(taps)))
            return
        if packed:
            self._put(path, Tap(f"{head}seqlens", "input.sequence_lengths"))
        for tap in _queries(name, HEADS):
            self._put(path, tap)
        self._put(path, Tap(f"{name}.context", "result", HEADS))

    def _tap(self, name: str, place: str, layout: tuple[str, ...]) -> tuple[str, Tap]:
        each = place.startswith(EACH)
        where, _, transforms = place.removeprefix(EACH).partition("|")
        path, _, take = where.strip().partition(" ")
        given = tuple(transforms.split()) or layout
        return self._path(path), Tap(name, take or "result", given, segments=each)

    def _path(self, place: str) -> str:
        return STAR.sub(f"{self.blocks}.{{i}}", place)

    def _put(self, path: str, tap: Tap) -> None:
        before = self.modules.get(path, ())
        assert isinstance(before, tuple), path
        self.modules[path] = (*before, tap)


def _queries(
    name: str, layout: tuple[str, ...], segments: bool = False
) -> Iterator[Tap]:
    """Query, key and value of a call that has them by these names."""
    for one, argument in zip("qkv", ("query", "key", "value"), strict=True):
        place = f"input.{argument}"
        yield Tap(f"{name}.{one}", place, layout, segments=segments)
