# SPDX-License-Identifier: Apache-2.0
"""How a family of encoders says where its hook points are.

The name maps in this package are data in these terms; ``mmparity.capture.recorder``
carries them out. No torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mmparity.workload.models import Architecture


@dataclass(frozen=True)
class Tap:
    """One tensor of a call, and the hook point it becomes.

    Attributes:
        hook_point: canonical name; ``{i}`` is the number of the block.
        take: ``input.N`` or ``input.name`` (before the call), ``after.name`` (an
            argument that the call wrote to), ``output``, ``output.N`` or
            ``output.name``, or ``result``: the output, or the first of several.
        layout: the transforms of ``mmparity.trace.layout`` to the canonical layout.
        part: (number, count) where several calls make one hook point, side by
            side.
        join: the dimension in which the parts lie side by side.
        segments: the call is repeated for each sequence; they are put together
            along the tokens.
    """

    hook_point: str
    take: str
    layout: tuple[str, ...] = ()
    part: tuple[int, int] | None = None
    segments: bool = False
    join: int = -1


@dataclass(frozen=True)
class Declared:
    """A module that is executed and is no hook point, and why it needs none."""

    reason: str


Modules = dict[str, tuple[Tap, ...] | Declared]


@dataclass(frozen=True)
class OperatorTap:
    """A function that is no module, tapped where the encoder looks it up.

    Attributes:
        target: ``package.module:attribute``, ``package.module:mapping[key]``, or
            ``encoder:method`` for a method of the encoder itself.
        inside: the module, as a pattern, whose call it belongs to.
        parameters: names of its positional parameters.
        taps: what is taken from a call.
        scale: name of the parameter with the attention's scale.
        note: what its rows say of it, beside their path.
    """

    target: str
    inside: str
    parameters: tuple[str, ...]
    taps: tuple[Tap, ...]
    scale: str | None = None
    note: str = ""


@dataclass(frozen=True)
class HookMap:
    """The name map of a family of encoders.

    Attributes:
        modules: module path, with ``{i}`` for the number of the block or with a
            number -> what is taken there; all entries that fit a path apply.
        operators: what is taken where there is no module.
        architecture: which hook points there must be.
        deepstack: how many deepstack mergers there are.
        lists: modules whose parts are numbered by ``{i}``.
        stored: first part of a parameter's name -> what the checkpoint calls it.
        no_given: why the model around the tower takes no embeddings in place of
            pixels; empty where it does.
        others: why a module that is not in ``modules`` needs no hook point; empty
            where each must be there.
        absent: hook point that it lacks -> why.
    """

    modules: Modules
    operators: tuple[OperatorTap, ...] = field(default=())
    architecture: Architecture = "qwen2_5_vl"
    deepstack: int = 0
    lists: tuple[str, ...] = ("blocks", "deepstack_merger_list")
    stored: dict[str, str] = field(default_factory=dict)
    no_given: str = ""
    others: str = ""
    absent: dict[str, str] = field(default_factory=dict)

    def pattern_of(self, path: str) -> str:
        """A module's path with ``{i}`` in place of the number."""
        found = self._numbered(path)
        return f"{found[1]}.{{i}}{path[found.end() :]}" if found else path

    def rules_of(self, path: str) -> list[tuple[Tap, ...] | Declared]:
        """What is said of a module; of its exact path before its pattern."""
        keys = dict.fromkeys((path, self.pattern_of(path)))
        return [self.modules[key] for key in keys if key in self.modules]

    def number_of(self, path: str) -> int | None:
        """What stands for ``{i}`` in a module's path."""
        found = self._numbered(path)
        return int(found[2]) if found else None

    def stored_name(self, parameter: str) -> str:
        """What the checkpoint calls a parameter."""
        first, dot, rest = parameter.partition(".")
        return self.stored.get(first, first) + dot + rest

    def _numbered(self, path: str) -> re.Match[str] | None:
        lists = "|".join(re.escape(name) for name in self.lists)
        return re.match(rf"({lists})\.(\d+)(?=[./]|$)", path)


@dataclass(frozen=True)
class TowerKind:
    """What a name map depends on.

    Attributes:
        family: of the model.
        architecture: of its tower.
        deepstack: number of deepstack mergers.
        ascend: Ascend's operators are used.
        pad_weights: heads are padded in the weights and not around attention.
        native_attention: the dtype is one that the NPU's attention operator lacks.
    """

    family: str
    architecture: Architecture
    deepstack: int = 0
    ascend: bool = False
    pad_weights: bool = False
    native_attention: bool = False

    def hook_map(self, modules: Modules, *operators: OperatorTap) -> HookMap:
        """The name map of these modules and operators."""
        return HookMap(modules, operators, self.architecture, self.deepstack)
