# SPDX-License-Identifier: Apache-2.0
"""Which hook points a row of another tool shows, by the encoder's name map.

In doubt it is more of them: a row counts as the right place of a bug if any is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.peers.types import Row
from mmparity import encoders
from mmparity.capture.dumps.forward import DumpedTower
from mmparity.capture.dumps.to_trace import other_places
from mmparity.encoders.rules import HookMap
from mmparity.trace import hook_points

BLOCK = "blocks.{i}"
ARGUMENTS = {
    "cos": "rotary.cos",
    "sin": "rotary.sin",
    "rotary_pos_emb_cos": "rotary.cos",
    "rotary_pos_emb_sin": "rotary.sin",
    "cu_seqlens": f"{BLOCK}.cu_seqlens",
    "max_seqlen": f"{BLOCK}.max_seqlen",
    "sequence_lengths": f"{BLOCK}.seqlens",
}
"""Arguments that a module hands on to where they are taken."""
_ROTARY = f"{BLOCK}.attn.apply_rotary_emb"
_ROTATED = (f"{BLOCK}.attn.q", f"{BLOCK}.attn.k")
SHOWS = {
    (_ROTARY, "input"): ("rotary.cos", "rotary.sin", f"{BLOCK}.attn.qkv", *_ROTATED),
    (_ROTARY, "output"): _ROTATED,
}
"""Of modules that the name map takes nothing at: pattern and side -> hook points."""
UNSEEN = {
    "window_index": ("embeddings", "rotary.cos", "rotary.sin", "blocks.0.seqlens"),
    "pos_embeds": ("embeddings",),
}
"""What no module is given or returns -> what is computed from it next."""


class Places:
    """The hook points of one encoder, by the modules that show them."""

    def __init__(self, subject: DumpedTower) -> None:
        self.names: HookMap = encoders.hook_map_of(
            subject.implementation, subject.config
        )
        self.depth: int = subject.config.depth
        self.order = hook_points.expand(
            self.depth, self.names.architecture, self.names.deepstack
        )
        self.elsewhere: dict[str, list[tuple[str, str]]] = {}
        for name, path, tap in other_places(self.names, self.depth, subject):
            self.elsewhere.setdefault(path, []).append((name, tap.take))

    def of(self, row: Row) -> list[str]:
        """The hook points that a row shows, each once."""
        path = row.module
        if row.number and path.startswith("blocks.0."):  # the blocks share it
            path = path.replace("blocks.0.", f"blocks.{row.number}.", 1)
        return list(dict.fromkeys(self._of(path, row)))

    def _of(self, path: str, row: Row) -> Iterator[str]:
        taken, elsewhere = list(self._taken(path)), self.elsewhere.get(path, [])
        for name, take in taken + elsewhere:
            if row.side == "parameter" or take.startswith(row.side):
                yield name
        number = self.names.number_of(path)
        for name in self._handed_on(self.names.pattern_of(path), row):
            yield name.replace("{i}", str(number))
        inside = self._inside(path)
        if row.side != "input":
            yield from inside[-1:]
        elif path:
            for group in (taken, elsewhere):
                yield from self._around([name for name, _ in group])
            yield from self._around(inside)

    def _taken(self, path: str) -> Iterator[tuple[str, str]]:
        """What the name map takes at a module, and where."""
        number = self.names.number_of(path)
        for key in dict.fromkeys((path, self.names.pattern_of(path))):
            rule = self.names.modules.get(key, ())
            for tap in rule if isinstance(rule, tuple) else ():
                yield tap.hook_point.replace("{i}", str(number)), tap.take

    def _handed_on(self, pattern: str, row: Row) -> Iterator[str]:
        """What passes through a module on its way to where it is taken."""
        if row.value in ARGUMENTS:
            yield ARGUMENTS[row.value]
        yield from SHOWS.get((pattern, row.side), ())

    def _inside(self, path: str) -> list[str]:
        """Those of a module and of its parts, in order."""
        return [
            name for name in self.order if name == path or name.startswith(f"{path}.")
        ]

    def _around(self, names: Iterable[str]) -> Iterator[str]:
        """The last one before all of these, and the first of them."""
        known = [self.order.index(name) for name in names if name in self.order]
        if known:
            first = min(known)
            yield from self.order[max(first - 1, 0) : first + 1]


def is_right(places: Iterable[str], at: Iterable[str]) -> bool:
    """Whether a row that shows these is where the catalogue has the bug."""
    wanted = set(at)
    for name in at:
        wanted.update(UNSEEN.get(name, ()))
    return not wanted.isdisjoint(places)


def is_edited(row: Row, classes: Iterable[str], mutant: Mutant, source: str) -> bool:
    """Whether a row is of what the edited class returns or holds.

    ``classes`` are those of the row's module, ``source`` is the file before the edit.
    The tower is no such module: what it returns shows every bug.
    """
    owner = owner_of(source, mutant.old)
    if owner is None or owner not in classes:
        return False
    if row.side == "input" or not row.module:
        return False
    numbers = {hook_points.number_of(name) for name in mutant.at}
    if numbers <= {None}:
        numbers.add(0)
    return hook_points.number_of(row.module) in numbers


def owner_of(source: str, text: str) -> str | None:
    """The innermost class of a file that has ``text`` inside."""
    start = source.index(text) + len(text) - len(text.lstrip())
    first = source.count("\n", 0, start) + 1
    owners = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and node.lineno <= first <= (node.end_lineno or 0)
    ]
    return max(owners, key=lambda node: node.lineno).name if owners else None
