# SPDX-License-Identifier: Apache-2.0
"""Which patches of a series a file holds that somebody edited, told by its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

_TELLING = re.compile(rb"\w{3}.{5}")


@dataclass(frozen=True)
class Step:
    """What one patch does to one file.

    Attributes:
        added: its telling lines, but those that it only moves; `removed` likewise.
        runs: the lines that it takes out, as they follow each other.
        deletes: it leaves no file.
    """

    added: frozenset[bytes]
    removed: frozenset[bytes]
    runs: tuple[tuple[bytes, ...], ...] = ()
    deletes: bool = False


def step_of(hunks: Sequence[bytes], deletes: bool = False) -> Step:
    """The step that a patch's hunks of one file describe."""
    groups = [
        (sign, tuple(line[1:].strip() for line in lines))
        for sign, lines in groupby(hunks, lambda line: line[:1])
    ]
    runs = tuple(lines for sign, lines in groups if sign == b"-")
    added = _telling(line for sign, lines in groups if sign == b"+" for line in lines)
    removed = _telling(line for lines in runs for line in lines)
    return Step(added - removed, removed - added, runs, deletes)


def held(content: bytes, steps: Sequence[Step]) -> list[bool | None]:
    """Whether a file holds each step: all that touch it, in the order of the series.

    A line that a step adds is there, or a later step that the file holds takes it out.
    A step that leaves no line of its own is told by lines of the release that it takes
    out; where there are none either, the file tells nothing of it: None.
    """
    lines = [line.strip() for line in content.splitlines()]
    found: list[bool | None] = []  # of the steps after `number`
    for number in reversed(range(len(steps))):
        step, later = steps[number], steps[number + 1 :]
        missing = step.added.difference(lines, _taken(later, found, True))
        is_held: bool | None = None
        if missing - _taken(later, found, None) or (step.deletes and not later):
            is_held = False
        elif step.added and not missing:
            is_held = True
        elif runs := [] if step.deletes else _of_the_release(step, steps):
            is_held = not any(_follow(lines, run) for run in runs)
        found.insert(0, is_held)
    return found


def _telling(lines: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(line for line in lines if _TELLING.search(line))


def _taken(
    steps: Sequence[Step], found: Sequence[bool | None], which: bool | None
) -> frozenset[bytes]:
    """The lines that some of the steps take out: those of which `which` was found."""
    pairs = zip(steps, found, strict=True)
    return frozenset().union(*(step.removed for step, one in pairs if one is which))


def _of_the_release(step: Step, steps: Sequence[Step]) -> list[tuple[bytes, ...]]:
    """The telling runs that a step takes out and no step puts in."""
    put_in = frozenset().union(*(one.added for one in steps))
    return [run for run in step.runs if _telling(run) and put_in.isdisjoint(run)]


def _follow(lines: Sequence[bytes], run: Sequence[bytes]) -> bool:
    """Whether the lines hold a run, one after the other."""
    return b"\n".join([b"", *run, b""]) in b"\n".join([b"", *lines, b""])
