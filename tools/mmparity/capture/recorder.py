# SPDX-License-Identifier: Apache-2.0
"""Records an encoder's tensors under canonical names while it runs.

Every module's ``forward`` and every declared operator is wrapped for the time
of the capture. Wrapping ``forward`` also catches modules that are entered
around ``nn.Module.__call__``, as vLLM's compilable ones are. What is executed
and declared nowhere is reported; nothing is left out in silence.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import nn

from mmparity.capture.graft import Graft
from mmparity.encoders import Encoder
from mmparity.encoders.rules import Declared, OperatorTap, Tap
from mmparity.trace import hook_points
from mmparity.trace.layout import Geometry, LayoutError, execute, plan
from mmparity.trace.sink import Sink

_MISSING = object()


@dataclass
class Report:
    """What a capture says besides its tensors.

    Attributes:
        seconds: time spent on recording, to be taken off the forward's.
        scale: the attention's scale, as it was passed or as is its default.
        padded_head_size: head size that the attention operator saw.
    """

    seconds: float = 0.0
    scale: float | None = None
    padded_head_size: int | None = None


@contextmanager
def capturing(
    encoder: Encoder, depth: int, sink: Sink, graft: Graft | None = None
) -> Iterator[Report]:
    """Records into ``sink`` what ``encoder`` executes inside the ``with``.

    With a ``graft``, what was recorded is overwritten with the donor's.
    """
    recorder = _Recorder(encoder, sink, graft)
    with ExitStack() as stack:
        recorder.wrap_modules(stack)
        recorder.wrap_operators(stack)
        yield recorder.report
    names = encoder.hook_map
    recorder.finish(hook_points.expand(depth, names.architecture, names.deepstack))


@dataclass
class _Call:
    """One call in flight, with its arguments by position and by name."""

    path: str
    args: tuple[Any, ...]
    named: dict[str, Any]
    output: Any = _MISSING


@dataclass
class _Gathered:
    """A hook point that several calls make, with the pieces so far."""

    dim: int
    path: str
    transforms: tuple[str, ...]
    pieces: list[torch.Tensor] = field(default_factory=list)
    error: str | None = None
    count: int = 0

    def add(self, piece: torch.Tensor) -> None:
        """Takes a copy of a piece, for the next call may change it."""
        self.count += 1
        first = self.pieces[0] if self.pieces else piece
        if _around(piece, self.dim) != _around(first, self.dim):
            shape = list(piece.shape)
            self.error = self.error or f"a piece {shape} does not fit its neighbours"
            return
        self.pieces.append(piece.detach().clone())


class _Recorder:
    def __init__(self, encoder: Encoder, sink: Sink, graft: Graft | None) -> None:
        self.graft = graft
        self.model = encoder.model
        self.map = encoder.hook_map
        self.sink = sink
        self.report = Report()
        known = encoder.hyper_parameters
        heads = known["num_heads"] // known.get("tensor_parallel", 1)
        self.geometry = Geometry(heads, known["head_size"])
        self._stack: list[str] = []
        self._recorded: set[str] = set()
        self._gathered: dict[str, _Gathered] = {}
        self._noted: set[str] = set()
        self._known: dict[str, tuple[Tap, ...]] = {}

    def wrap_modules(self, stack: ExitStack) -> None:
        paths: dict[nn.Module, list[str]] = {}
        for path, module in self.model.named_modules(remove_duplicate=False):
            paths.setdefault(module, []).append(path)
        for module, places in paths.items():
            signature = inspect.signature(module.forward)
            call = self._module_call(module.forward, signature, places)
            stack.enter_context(_replaced(module, "forward", call))

    def wrap_operators(self, stack: ExitStack) -> None:
        for tap in self.map.operators:
            owner, name = self._owner(tap.target)
            call = self._operator_call(_get(owner, name), tap)
            stack.enter_context(_replaced(owner, name, call))

    def finish(self, expected: tuple[str, ...]) -> None:
        self._flush()
        for name in expected:
            if name not in self._recorded:
                reason = "expected, but nothing was executed that makes it"
                self._note(name, reason, False)

    def _owner(self, target: str) -> tuple[Any, str]:
        """Where an operator is looked up: an attribute's or an entry's owner."""
        place, _, name = target.partition(":")
        if place == "encoder":
            return self.model, name
        module = import_module(place)
        entry = re.fullmatch(r"(\w+)\[(\w+)\]", name)
        return (getattr(module, entry[1]), entry[2]) if entry else (module, name)

    def _module_call(
        self,
        forward: Callable[..., Any],
        signature: inspect.Signature,
        places: list[str],
    ) -> Callable[..., Any]:
        @functools.wraps(forward)
        def call(*args: Any, **kwargs: Any) -> Any:
            path = self._place(places)
            bound = signature.bind(*args, **kwargs).arguments
            this = _Call(path, args, {**bound, **kwargs})
            taps = self._taps(path)
            self._record(taps, this, ("input",))
            self._stack.append(path)
            try:
                this.output = forward(*args, **kwargs)
            finally:
                self._stack.pop()
            self._record(taps, this, ("after", "output"))
            return this.output

        return call

    def _operator_call(
        self, function: Callable[..., Any], tap: OperatorTap
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            inside = self._stack[-1] if self._stack else None
            if inside is None or self.map.pattern_of(inside) != tap.inside:
                self._note(f"{inside}: {tap.target}", "called outside its place", False)
                return function(*args, **kwargs)
            named = {**dict(zip(tap.parameters, args, strict=False)), **kwargs}
            path = f"{inside}/{tap.target.partition(':')[2]}"
            this = _Call(f"{path} ({tap.note})" if tap.note else path, args, named)
            self._observe(tap, named)
            self._record(tap.taps, this, ("input",))
            this.output = function(*args, **kwargs)
            self._record(tap.taps, this, ("after", "output"))
            return this.output

        return call

    def _place(self, places: list[str]) -> str:
        """The path of a module that may be shared between blocks."""
        if len(places) == 1 or not self._stack:
            return places[0]
        parent = self._stack[-1]
        return next((p for p in places if p.rpartition(".")[0] == parent), places[0])

    def _taps(self, path: str) -> tuple[Tap, ...]:
        """What is taken at a module; the exact path comes before the pattern."""
        if path in self._known:
            return self._known[path]
        pattern = self.map.pattern_of(path)
        rules = [
            self.map.modules[key]
            for key in dict.fromkeys((path, pattern))
            if key in self.map.modules
        ]
        if not rules:
            self._note(path, "executed, but neither a hook point nor declared", False)
        for rule in rules:
            if isinstance(rule, Declared):
                self._note(pattern, rule.reason, True)
        taps = [rule for rule in rules if not isinstance(rule, Declared)]
        self._known[path] = tuple(tap for rule in taps for tap in rule)
        return self._known[path]

    def _note(self, path: str, reason: str, explained: bool) -> None:
        if path not in self._noted:
            self._noted.add(path)
            self.sink.unmatched(path, reason, explained=explained)

    def _observe(self, tap: OperatorTap, named: dict[str, Any]) -> None:
        """Notes scale and head size of the first attention call."""
        query = next((named[name] for name in ("query", "q") if name in named), None)
        if query is None or self.report.padded_head_size is not None:
            return
        self.report.padded_head_size = query.shape[-1]
        scale = named.get(tap.scale) if tap.scale else None
        self.report.scale = query.shape[-1] ** -0.5 if scale is None else scale

    def _record(
        self, taps: tuple[Tap, ...], call: _Call, when: tuple[str, ...]
    ) -> None:
        if not taps:
            return
        started = time.perf_counter()
        number = self.map.number_of(call.path)
        taken = []
        for tap in taps:
            kind, *steps = tap.take.split(".")
            if kind in when:
                name = tap.hook_point.replace("{i}", str(number))
                value = _pick(call, kind, steps)
                self._add(name, tap, call.path, value)
                taken.append((name, tap, value))
        if self.graft is not None:
            for name, tap, value in taken:
                if isinstance(value, torch.Tensor):
                    self.graft.put(name, tap, value, self.geometry)
        self.report.seconds += time.perf_counter() - started

    def _add(self, name: str, tap: Tap, path: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            self._note(name, f"{tap.take} of {path} is {type(value).__name__}", False)
            return
        tensor, transforms, error = self._canonical(value, tap)
        if tap.segments or tap.part:
            self._gather(name, tap, path, tensor, transforms, error)
            return
        self._flush()
        self._write(name, tensor, path, transforms, error)

    def _canonical(
        self, value: torch.Tensor, tap: Tap
    ) -> tuple[torch.Tensor, tuple[str, ...], str | None]:
        try:
            steps = plan(tap.layout, tuple(value.shape), self.geometry)
            names = tuple(step.name for step in steps)
            return execute(value, steps), names, None
        except LayoutError as error:
            return value, (), f"{tap.take}: {error}"

    def _gather(
        self,
        name: str,
        tap: Tap,
        path: str,
        piece: torch.Tensor,
        transforms: tuple[str, ...],
        error: str | None,
    ) -> None:
        dim = tap.join if tap.part else 0
        if name not in self._gathered:
            self._gathered[name] = _Gathered(dim, path, transforms)
        whole = self._gathered[name]
        whole.add(piece)
        whole.transforms = transforms
        whole.error = whole.error or error
        if tap.part and whole.count == tap.part[1]:
            del self._gathered[name]
            self._flush()
            self._end(name, whole, "joined")

    def _flush(self) -> None:
        """Writes the sequences gathered so far; the next tensor comes after them."""
        gathered, self._gathered = self._gathered, {}
        for name, whole in gathered.items():
            self._end(name, whole, "sequences_joined")

    def _end(self, name: str, whole: _Gathered, how: str) -> None:
        transforms = (*whole.transforms, how)
        tensor = torch.cat(whole.pieces, dim=whole.dim)
        self._write(name, tensor, whole.path, transforms, whole.error)

    def _write(
        self,
        name: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...],
        error: str | None,
    ) -> None:
        if name in self._recorded:
            self._note(f"{name} again", f"made a second time at {path}", False)
            return
        self._recorded.add(name)
        self.sink.add(name, tensor, path or "(encoder)", transforms, error)


def _around(piece: torch.Tensor, dim: int) -> tuple[Any, ...]:
    """What pieces that are put side by side along a dimension have in common."""
    shape = list(piece.shape)
    del shape[dim]
    return shape, piece.dtype, piece.device


def _pick(call: _Call, kind: str, steps: list[str]) -> Any:
    """The value that a ``take`` names; None where it is absent."""
    if kind == "output":
        value = call.output
    else:
        first, *steps = steps
        value = call.named.get(first)
        if first.isdigit():
            value = call.args[int(first)] if int(first) < len(call.args) else None
    for step in steps:
        fits = isinstance(value, (tuple, list)) and int(step) < len(value)
        value = value[int(step)] if fits else None
    return value


def _get(owner: Any, name: str) -> Any:
    return getattr(owner, name) if hasattr(owner, name) else owner[name]


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Puts ``value`` in place of an attribute or an entry, and takes it out again.

    What only the class has is shadowed on the instance and not copied to it.
    """
    if not hasattr(owner, name):  # a mapping
        before = owner[name]
        owner[name] = value
        try:
            yield
        finally:
            del owner[name]
            if owner.get(name) is not before:
                owner[name] = before
        return
    before = vars(owner).get(name, _MISSING)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, before)
