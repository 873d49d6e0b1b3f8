# SPDX-License-Identifier: Apache-2.0
"""One forward of a vision tower in a dump: which calls it is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmparity import encoders
from mmparity.capture.dumps.msprobe import Dump, DumpedCall
from mmparity.encoders.rules import HookMap
from mmparity.errors import MmparityError
from mmparity.trace import hook_points
from mmparity.workload import models
from mmparity.workload.implementations import Implementation

FIRST_NORM = "blocks.0.norm1"


@dataclass(frozen=True)
class DumpedTower:
    """What a dump does not say of itself.

    Attributes:
        implementation: whose name map it has.
        config: of the vision tower.
        number: which of several forwards, from 0.
    """

    implementation: Implementation
    config: Any
    number: int = 0

    @property
    def hook_map(self) -> HookMap:
        """The name map of the tower."""
        return encoders.hook_map_of(self.implementation, self.config)


def calls_of(dump: Dump, subject: DumpedTower) -> dict[str, DumpedCall]:
    """Module path, from the tower's root -> its call in the forward asked for."""
    return dict(_of_forward(dump, subject))


def dtype_of(calls: dict[str, DumpedCall]) -> str:
    """The dtype that the tower ran in."""
    call = calls.get(FIRST_NORM)
    entry = call.outputs[0] if call and call.outputs else None
    if not isinstance(entry, dict):
        raise MmparityError(f"the dump has no module {FIRST_NORM} with an output.")
    return str(entry.get("dtype")).removeprefix("torch.")


def depth_of(calls: dict[str, DumpedCall]) -> int:
    """Number of blocks that the dump has."""
    numbers = [hook_points.block_number(path) for path in calls]
    found = [number for number in numbers if number is not None]
    if not found:
        raise MmparityError(
            "the dump has no module blocks.0...: is it one of a vision tower? "
            f"It has {', '.join(list(calls)[:5])}."
        )
    return max(found) + 1


def parameters_of(calls: dict[str, DumpedCall]) -> dict[str, list[Any]]:
    """Name of each parameter in the dump -> its shape and dtype."""
    return {
        f"{path}.{name}": [entry["shape"], str(entry["dtype"]).removeprefix("torch.")]
        for path, call in calls.items()
        for name, entry in call.parameters.items()
        if isinstance(entry, dict) and {"shape", "dtype"} <= entry.keys()
    }


def _of_forward(dump: Dump, subject: DumpedTower) -> Iterator[tuple[str, DumpedCall]]:
    """The calls of one forward; a module that blocks share was called once in each."""
    prefix = _prefix(dump.calls, models.family_of(subject.config))
    calls = [
        replace(call, path=call.path.removeprefix(prefix))
        for call in dump.calls
        if call.path.startswith(prefix)
    ]
    counts = Counter(call.path for call in calls)
    forwards = counts.get(FIRST_NORM, 1)
    if not 0 <= subject.number < forwards:
        raise MmparityError(
            f"{dump.file} has {forwards} forwards of the tower; there is no number "
            f"{subject.number}. Allowed for --forward: 0 to {forwards - 1}."
        )
    depth = depth_of({call.path: call for call in calls})
    names = subject.hook_map
    for call in calls:
        each = counts[call.path] // forwards
        tapped = any(isinstance(rule, tuple) for rule in names.rules_of(call.path))
        if tapped and (counts[call.path] % forwards or each not in (1, depth)):
            raise MmparityError(
                f"{dump.file}: {call.path} was called {counts[call.path]} times in "
                f"{forwards} forwards of {depth} blocks."
            )
        forward, block = divmod(call.number, max(each, 1))
        if forward == subject.number:
            place = call.path.replace("blocks.0.", f"blocks.{block}.", 1)
            yield (place if each == depth else call.path), call


def _prefix(calls: Sequence[DumpedCall], family: models.Family) -> str:
    """What stands before the tower in the paths.

    msprobe may see the tower alone, the whole model, a list of models (``0.``), or one
    that another wraps (``module.``): the tower is where its blocks are.
    """
    found = dict.fromkeys(
        call.path.removesuffix(FIRST_NORM)
        for call in calls
        if f".{call.path}".endswith(f".{FIRST_NORM}")
    )
    if len(found) > 1:  # another part of the model has blocks too
        named = tuple(f".{prefix}" for prefix in family.prefixes)
        found = {p: None for p in found if f".{p}".endswith(named)} or found
    if len(found) > 1:
        names = ", ".join(f"{prefix}{FIRST_NORM}" for prefix in list(found)[:4])
        raise MmparityError(
            f"the dump has several towers with blocks: {names}. Give msprobe the "
            "vision tower alone."
        )
    return next(iter(found), "")
