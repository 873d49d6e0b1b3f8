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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from mmparity.capture.graft import Graft
from mmparity.capture.replacing import replaced, value_of
from mmparity.capture.whole_tensors import Recorded, WholeTensors
from mmparity.encoders import Encoder
from mmparity.encoders.rules import Declared, OperatorTap, Tap
from mmparity.trace import hook_points
from mmparity.trace.layout import COMPUTED, HeadGeometry, LayoutError, execute, plan
from mmparity.trace.sink import Sink


@dataclass
class Observed:
    """What a capture says besides its tensors.

    Attributes:
        seconds: time spent on recording, to be taken off the forward's.
        scale: the attention's scale, as it was passed or as is its default.
        padded_head_size: head size that the attention operator saw.
        raised_in: the innermost module or operator that raised an error.
        raised: set by who catches that error, for then hook points are missing.
    """

    seconds: float = 0.0
    scale: float | None = None
    padded_head_size: int | None = None
    raised_in: str = ""
    raised: str = ""

    @property
    def seen(self) -> dict[str, float | None]:
        """Hyper-parameters; none where a module says them and no operator."""
        if self.padded_head_size is None:
            return {}
        return {"scale": self.scale, "padded_head_size": self.padded_head_size}


@contextmanager
def capturing(
    encoder: Encoder, depth: int, sink: Sink, graft: Graft | None = None
) -> Iterator[Observed]:
    """Records into ``sink`` what ``encoder`` executes inside the ``with``.

    With a ``graft``, what was recorded is overwritten with the donor's.
    """
    recorder = _Recorder(encoder, sink, graft)
    with ExitStack() as stack:
        recorder.wrap_modules(stack)
        recorder.wrap_operators(stack)
        yield recorder.report
    if recorder.report.raised:  # what is missing comes after that
        return
    names = encoder.hook_map
    recorder.finish(hook_points.expand(depth, names.architecture, names.deepstack))


@dataclass
class _Call:
    """One call in flight, with its arguments by position and by name."""

    path: str
    args: tuple[Any, ...]
    named: dict[str, Any]
    output: Any = None


class _Recorder:
    def __init__(self, encoder: Encoder, sink: Sink, graft: Graft | None) -> None:
        self.graft = graft
        self.model = encoder.model
        self.device = next((p.device.type for p in self.model.parameters()), "cpu")
        self.map = encoder.hook_map
        self.tensors = WholeTensors(sink)
        self.report = Observed()
        known = encoder.hyper_parameters
        heads = known["num_heads"] // known.get("tensor_parallel", 1)
        self.geometry = HeadGeometry(heads, known["head_size"])
        self._stack: list[str] = []
        self._known: dict[str, tuple[Tap, ...]] = {}

    def wrap_modules(self, stack: ExitStack) -> None:
        paths: dict[nn.Module, list[str]] = {}
        for path, module in self.model.named_modules(remove_duplicate=False):
            paths.setdefault(module, []).append(path)
        for module, places in paths.items():
            signature = inspect.signature(module.forward)
            call = self._module_call(module.forward, signature, places)
            stack.enter_context(replaced(module, "forward", call))

    def wrap_operators(self, stack: ExitStack) -> None:
        for tap in self.map.operators:
            try:
                owner, name = self._owner(tap.target)
                found = value_of(owner, name)
            except (ImportError, AttributeError, KeyError):
                self.tensors.note(tap.target, "there is no such function", False)
                continue
            call = self._operator_call(found, tap)
            stack.enter_context(replaced(owner, name, call))

    def finish(self, expected: tuple[str, ...]) -> None:
        self.tensors.flush()
        for name, reason in self.map.absent.items():
            self.tensors.note(name, reason, True)
        for name in expected:
            if hook_points.pattern_of(name) in self.map.absent:
                continue
            if name not in self.tensors.names:
                reason = "expected, but nothing was executed that makes it"
                self.tensors.note(name, reason, False)

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
            if self._stack[-1:] == [path]:  # it calls itself with another layout
                return forward(*args, **kwargs)
            bound = signature.bind(*args, **kwargs).arguments
            this = _Call(path, args, {**bound, **kwargs})
            taps = self._taps(path)
            self._record(taps, this, ("input",))
            self._stack.append(path)
            try:
                this.output = forward(*args, **kwargs)
            except Exception:
                self.report.raised_in = self.report.raised_in or path
                raise
            finally:
                self._stack.pop()
            self.report.raised_in = ""  # what was raised inside was caught
            self._record(taps, this, ("after", "output", "result"))
            return this.output

        return call

    def _operator_call(
        self, function: Callable[..., Any], tap: OperatorTap
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            inside = self._stack[-1] if self._stack else None
            if inside is None or self.map.pattern_of(inside) != tap.inside:
                where = f"{inside}: {tap.target}"
                self.tensors.note(where, "called outside its place", False)
                return function(*args, **kwargs)
            named = {**dict(zip(tap.parameters, args, strict=False)), **kwargs}
            path = f"{inside}/{tap.target.partition(':')[2]}"
            this = _Call(f"{path} ({tap.note})" if tap.note else path, args, named)
            self._observe(tap, named)
            self._record(tap.taps, this, ("input",))
            try:
                this.output = function(*args, **kwargs)
            except Exception:
                self.report.raised_in = self.report.raised_in or path
                raise
            self.report.raised_in = ""
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
        rules = self.map.rules_of(path)
        if not rules:
            reason = "executed, but neither a hook point nor declared"
            known = (self.map.pattern_of(path), self.map.others, True)
            self.tensors.note(*(known if self.map.others else (path, reason, False)))
        for rule in rules:
            if isinstance(rule, Declared):
                self.tensors.note(self.map.pattern_of(path), rule.reason, True)
        taps = [rule for rule in rules if not isinstance(rule, Declared)]
        self._known[path] = tuple(tap for rule in taps for tap in rule)
        return self._known[path]

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
            reason = f"{tap.take} of {path} is {type(value).__name__}"
            self.tensors.note(name, reason, False)
            return
        tensor, transforms, error = self._canonical(value, tap)
        if not COMPUTED.intersection(transforms):
            here = value.device.type
            error = error or hook_points.misplaced(name, here, self.device)
        recorded = Recorded(name, tensor, path, transforms, error)
        if tap.part:
            self.tensors.add_part(recorded, tap.join, tap.part[1])
        elif tap.segments:
            self.tensors.add_sequence(recorded)
        else:
            self.tensors.add(recorded)

    def _canonical(
        self, value: torch.Tensor, tap: Tap
    ) -> tuple[torch.Tensor, tuple[str, ...], str | None]:
        try:
            steps = plan(tap.layout, tuple(value.shape), self.geometry)
            names = tuple(step.name for step in steps)
            return execute(value, steps), names, None
        except LayoutError as error:
            return value, (), f"{tap.take}: {error}"


def _pick(call: _Call, kind: str, steps: list[str]) -> Any:
    """The value that a ``take`` names; None where it is absent."""
    if kind == "output":
        value = call.output
    elif kind == "result":
        value = call.output
        value = value.to_tuple() if hasattr(value, "to_tuple") else value
        value = value[0] if isinstance(value, (tuple, list)) else value
    else:
        first, *steps = steps
        value = call.named.get(first)
        if first.isdigit():
            value = call.args[int(first)] if int(first) < len(call.args) else None
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step)
        else:
            fits = isinstance(value, (tuple, list)) and int(step) < len(value)
            value = value[int(step)] if fits else None
    return value
