# SPDX-License-Identifier: Apache-2.0
"""A dump -> a trace, by the name maps that captures use.

A dump has no functions; most have no root module, and none that is entered around
``nn.Module.__call__`` or, in some, that has parts. What such a place would have given
is taken where another module received it, or is declared absent; what else is missing
fails, as it does in a capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmparity import encoders
from mmparity.capture.dumps.dump import Dump, DumpedCall
from mmparity.capture.dumps.forward import (
    FIRST_NORM,
    DumpedTower,
    calls_of,
    depth_of,
    parameters_of,
)
from mmparity.encoders.rules import Declared, HookMap, Tap
from mmparity.trace import hook_points
from mmparity.trace.layout import HeadGeometry, LayoutError, execute, plan
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
from mmparity.workload import models

BLOCK = "blocks.{i}"
UNSEEN = ("", "patch_embed", BLOCK, "merger", "deepstack_merger_list.{i}")
"""The root, and modules that vLLM compiles: they are called around hooks."""
ATTENTION = f"{BLOCK}.attn.attn"
_CONTEXT = Tap("", "input.0", ("split_heads",))
"""transformers' attention is a function, whose result goes to the projection."""
POSITIONS = {"query": 0, "key": 1, "value": 2}
"""Of arguments with a name in the name maps that callers give by position."""
_NO_FUNCTION = "a dump is of modules and has no functions, and this is taken at one"
_NO_MODEL = "a dump is of modules; what the model makes of the tower's output is none"
_NO_ROOT = "a dump has neither the root module's result nor modules that vLLM compiles"


def write_trace(dump: Dump, subject: DumpedTower, meta: TraceMeta, out: Path) -> None:
    """Writes the trace that the dump makes; one tensor is held at a time."""
    names = subject.hook_map
    calls = calls_of(dump, subject)
    depth = depth_of(dump, calls)
    size = models.head_size(subject.config)
    taken = _Taken(dump, names, HeadGeometry(subject.config.num_heads, size))
    for path, call in calls.items():
        taken.call(path, call)
    taken.elsewhere(calls, depth, subject)
    deepstack = names.deepstack
    order = hook_points.expand(depth, names.architecture, deepstack)
    meta = replace(meta, depth=depth, parameters=parameters_of(dump, calls))
    with TraceWriter(out, meta) as writer:
        for name in order:
            if taken.has(name):
                taken.write(name, writer)
            elif name not in taken.noted:
                writer.unmatched(name, *_why_absent(name, names))
        for point in hook_points.OF_MODEL:
            writer.unmatched(point.name, _NO_MODEL, True)
        for path, (reason, explained) in taken.noted.items():
            writer.unmatched(path, reason, explained)


def _why_absent(name: str, names: HookMap) -> tuple[str, bool]:
    """Why a dump lacks a hook point, and whether that is a dump's nature."""
    pattern = hook_points.pattern_of(name)
    for operator in names.operators:
        if any(tap.hook_point == pattern for tap in operator.taps):
            return _NO_FUNCTION, True
    for module, rule in names.modules.items():
        if isinstance(rule, tuple) and any(tap.hook_point == pattern for tap in rule):
            if module in UNSEEN or module == "blocks.0":
                return _NO_ROOT, True
            return f"expected, but the dump has no usable call of {module}", False
    return "expected, but its name map takes it nowhere", False


@dataclass(frozen=True)
class _Piece:
    """One value of a call, and the transforms to the canonical layout."""

    entry: Any
    path: str
    layout: tuple[str, ...]
    number: int = 0
    count: int = 1
    join: int = -1


class _Taken:
    """Hook point -> where the dump has it."""

    def __init__(self, dump: Dump, names: HookMap, geometry: HeadGeometry) -> None:
        self.dump, self.names, self.geometry = dump, names, geometry
        self.found: dict[str, list[_Piece]] = {}
        self.noted: dict[str, tuple[str, bool]] = {}

    def call(self, path: str, call: DumpedCall) -> None:
        """Takes what the name map takes at a module."""
        rules = self.names.rules_of(path)
        if not rules:
            kind = f" ({call.kind})" if call.kind else ""
            reason = f"executed{kind}, but neither a hook point nor declared"
            self.noted[path] = reason, False
        for rule in rules:
            if isinstance(rule, Declared):
                self.noted[self.names.pattern_of(path)] = rule.reason, True
                continue
            for tap in rule:
                self.take(_named(self.names, tap.hook_point, path), path, call, tap)

    def take(self, name: str, path: str, call: DumpedCall, tap: Tap) -> bool:
        """Takes one value, if the call has it."""
        entry = _pick(call, tap.take)
        if self.dump.stored(entry) is None:
            return False
        number, count = tap.part or (0, 1)
        piece = _Piece(entry, path, tap.layout, number, count, tap.join)
        self.found.setdefault(name, []).append(piece)
        return True

    def has(self, name: str) -> bool:
        """Whether the dump has all parts of a hook point."""
        pieces = self.found.get(name, [])
        return bool(pieces) and len(pieces) == pieces[0].count

    def elsewhere(
        self, calls: dict[str, DumpedCall], depth: int, subject: DumpedTower
    ) -> None:
        """Takes what is still missing where another module received it."""
        places = [*other_places(self.names, depth, subject)]
        if subject.implementation.oracle:
            places += [
                (f"blocks.{i}.attn.context", f"blocks.{i}.attn.proj", _CONTEXT)
                for i in range(depth)
            ]
        for name, path, tap in places:
            if name not in self.found and path in calls:
                self.take(name, path, calls[path], tap)

    def write(self, name: str, writer: TraceWriter) -> None:
        pieces = sorted(self.found[name], key=lambda piece: piece.number)
        tensors, transforms, error = [], [], None
        for piece in pieces:
            tensor, steps, wrong = self._canonical(piece)
            tensors.append(tensor)
            transforms = steps
            error = error or wrong
        tensor = tensors[0]
        if len(tensors) > 1:
            tensor = torch.cat(tensors, dim=pieces[0].join)
            transforms = [*transforms, "joined"]
        if error is None and tensor.is_floating_point() and not tensor.isfinite().all():
            error = "it has values that are NaN or infinite"
        writer.add(name, tensor, pieces[0].path, tuple(transforms), error)

    def _canonical(self, piece: _Piece) -> tuple[torch.Tensor, list[str], str | None]:
        tensor = self.dump.tensor(piece.entry)
        assert tensor is not None, piece
        try:
            steps = plan(piece.layout, tuple(tensor.shape), self.geometry)
            return execute(tensor, steps), [step.name for step in steps], None
        except LayoutError as error:
            return tensor, [], f"{piece.path}: {error}"


def _named(names: HookMap, pattern: str, path: str) -> str:
    return pattern.replace("{i}", str(names.number_of(path)))


def _pick(call: DumpedCall, take: str) -> Any:
    """The entry that a tap's ``take`` names; None where it is absent."""
    kind, *steps = take.split(".")
    value: Any
    if kind == "output":
        value = call.outputs if steps or len(call.outputs) > 1 else call.outputs[:1]
        steps = steps or (["0"] if len(value) == 1 else [])
    elif kind == "input" and not steps[0].isdigit():
        value = call.named.get(steps[0])
        position = POSITIONS.get(steps[0])
        if value is None and position is not None and position < len(call.inputs):
            value = call.inputs[position]
        steps = steps[1:]
    else:
        value = call.inputs if kind == "input" else None
    for step in steps:
        fits = isinstance(value, list) and int(step) < len(value)
        value = value[int(step)] if fits else None
    return value


def other_places(
    names: HookMap, depth: int, subject: DumpedTower
) -> Iterator[tuple[str, str, Tap]]:
    """Hook point, module and tap of values that another module received unchanged."""
    norm = _layout_of(names, f"{BLOCK}.norm1")
    first = Tap("", "input.0", norm)
    yield "embeddings", FIRST_NORM, first
    for number in range(1, depth):
        yield f"blocks.{number - 1}", f"blocks.{number}.norm1", first
    for last in ("merger.ln_q", "merger.norm"):
        yield f"blocks.{depth - 1}", last, first
    yield "patch_embed", "patch_embed.proj", Tap("", "output", ("squeeze.2",) * 3)
    for tap in _taps(names, "blocks.0"):
        if tap.hook_point.startswith("rotary."):
            yield tap.hook_point, "blocks.0.attn", tap
    if subject.implementation.hook_maps == "unified":
        native = replace(subject.implementation, ascend=False)
        for tap in _taps(encoders.hook_map_of(native, subject.config), ATTENTION):
            for number in range(depth):
                path = ATTENTION.replace("{i}", str(number))
                yield _named(names, tap.hook_point, path), path, tap


def _layout_of(names: HookMap, pattern: str) -> tuple[str, ...]:
    """Of a hook point that is taken at the module of its own name."""
    taps = _taps(names, pattern)
    return next((tap.layout for tap in taps if tap.hook_point == pattern), ())


def _taps(names: HookMap, module: str) -> tuple[Tap, ...]:
    rule = names.modules.get(module, ())
    return rule if isinstance(rule, tuple) else ()
