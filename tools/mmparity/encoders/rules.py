# SPDX-License-Identifier: Apache-2.0
"""How a family of encoders says where its hook points are.

The name maps in this package are data in these terms; ``mmparity.capture``
carries them out. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tap:
    """One tensor of a call, and the hook point it becomes.

    Attributes:
        hook_point: canonical name; ``{i}`` is the number of the block.
        take: ``input.N`` or ``input.name`` (before the call), ``after.name`` (an
            argument that the call wrote to), ``output`` or ``output.N``.
        layout: the transforms of ``mmparity.layout`` to the canonical layout.
        part: (number, count) where several calls make one hook point, side by
            side in its last dimension.
        segments: the call is repeated for each sequence; they are put together
            along the tokens.
    """

    hook_point: str
    take: str
    layout: tuple[str, ...] = ()
    part: tuple[int, int] | None = None
    segments: bool = False


@dataclass(frozen=True)
class Declared:
    """A module that is executed and is no hook point, and why it needs none."""

    reason: str


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
    """

    target: str
    inside: str
    parameters: tuple[str, ...]
    taps: tuple[Tap, ...]
    scale: str | None = None


@dataclass(frozen=True)
class HookMap:
    """The name map of a family of encoders.

    ``modules``: module path, with ``{i}`` for the number of the block or with a
    number -> what is taken there; all entries that fit a path apply.
    """

    modules: dict[str, tuple[Tap, ...] | Declared]
    operators: tuple[OperatorTap, ...] = field(default=())
