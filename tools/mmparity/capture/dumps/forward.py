# SPDX-License-Identifier: Apache-2.0
"""One forward of a vision tower in a dump: which calls it is made of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmparity import encoders
from mmparity.capture.dumps.dump import Dump, DumpedCall
from mmparity.encoders.rules import HookMap
from mmparity.errors import MmparityError
from mmparity.trace import hook_points
from mmparity.workload import models
from mmparity.workload.implementations import Implementation

FIRST_NORM = "blocks.0.norm1"
_BLOCKS = re.compile(r"(?<![^.])blocks\.\d{1,9}(?=\.|$)", re.ASCII)
_NUMBERED = re.compile(r"\.(\d{1,9})(?=\.|$)", re.ASCII)


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


def dtype_of(dump: Dump, calls: dict[str, DumpedCall]) -> str:
    """The dtype that the tower ran in."""
    call = calls.get(FIRST_NORM)
    stored = dump.stored(call.outputs[0]) if call and call.outputs else None
    if stored is None:
        raise MmparityError(
            f"{dump.file} has no module {FIRST_NORM} with an output. {dump.again}"
        )
    return stored.dtype.removeprefix("torch.")


def depth_of(dump: Dump, calls: dict[str, DumpedCall]) -> int:
    """Number of blocks that the dump has."""
    found = map(hook_points.block_number, calls)
    numbers = {number for number in found if number is not None}
    if not numbers:
        raise MmparityError(
            f"{dump.file} has no module blocks.0...: is it one of a vision tower? "
            f"It has {', '.join(list(calls)[:5])}.{_longest_list(dump.calls)}"
        )
    missing = sorted(set(range(len(numbers))) - numbers)
    if missing:
        raise MmparityError(
            f"{dump.file} has {len(numbers)} blocks, but not blocks.{missing[0]}. "
            f"{dump.again}"
        )
    return len(numbers)


def parameters_of(dump: Dump, calls: dict[str, DumpedCall]) -> dict[str, list[Any]]:
    """Name of each parameter in the dump -> its shape and dtype."""
    found = {
        f"{path}.{name}": dump.stored(entry)
        for path, call in calls.items()
        for name, entry in call.parameters.items()
    }
    return {
        name: [stored.shape, stored.dtype.removeprefix("torch.")]
        for name, stored in found.items()
        if stored is not None
    }


def _of_forward(dump: Dump, subject: DumpedTower) -> Iterator[tuple[str, DumpedCall]]:
    """The calls of one forward; a module that blocks share was called once in each."""
    prefix = _prefix(dump.calls, subject)
    calls = [
        replace(call, path=f"{call.path}.".removeprefix(prefix).rstrip("."))
        for call in dump.calls
        if f"{call.path}.".startswith(prefix)
    ]
    counts = Counter(call.path for call in calls)
    forwards = counts.get(FIRST_NORM, 1)
    if not 0 <= subject.number < forwards:
        raise MmparityError(
            f"{dump.file} has {forwards} forwards of the tower; there is no number "
            f"{subject.number}. Allowed for --forward: 0 to {forwards - 1}."
        )
    depth = depth_of(dump, {call.path: call for call in calls})
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


def _prefix(calls: Sequence[DumpedCall], subject: DumpedTower) -> str:
    """What stands before the tower in the paths.

    A tool may see the tower alone, the whole model, a list of models (``0.``), or one
    that another wraps (``module.``): the tower is where its blocks are, which are the
    numbered modules of which the name map knows most.
    """
    names, known = subject.hook_map, defaultdict[str, set[str]](set)
    for path in {call.path for call in calls}:
        for found in _BLOCKS.finditer(path):
            inside = path[found.start() :]
            if names.rules_of(inside):
                known[path[: found.start()]].add(names.pattern_of(inside))
    most = max(map(len, known.values()), default=0)
    best = [prefix for prefix in known if len(known[prefix]) == most]
    if len(best) > 1:  # another part of the model has such blocks too
        prefixes = models.family_of(subject.config).prefixes
        named = tuple(f".{prefix}" for prefix in prefixes)
        best = [prefix for prefix in best if f".{prefix}".endswith(named)] or best
    if len(best) > 1:
        several = ", ".join(f"{prefix}{FIRST_NORM}" for prefix in sorted(best)[:4])
        raise MmparityError(
            f"the dump has several towers with blocks: {several}. Give the tool the "
            "vision tower alone."
        )
    return best[0] if best else ""


def _longest_list(calls: Sequence[DumpedCall]) -> str:
    """What the blocks may be called in another model."""
    lists = defaultdict[str, set[str]](set)
    for call in calls:
        for found in _NUMBERED.finditer(call.path):
            lists[call.path[: found.start()]].add(found[1])
    if not lists:
        return ""
    name = max(lists, key=lambda item: len(lists[item]))
    return f" Its longest list of modules is {name or 'the model'}: {len(lists[name])}."
