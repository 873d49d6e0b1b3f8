# SPDX-License-Identifier: Apache-2.0
"""Which module of new stands for which of old."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from mmparity.errors import MmparityError

SHOWN = 5


def paired(
    old: Iterable[str],
    new: Iterable[str],
    names: Mapping[str, str],
    absent: Sequence[str],
) -> dict[str, str]:
    """Path in old -> path in new, in old's order.

    Args:
        old: paths of old, in order.
        new: paths of new.
        names: old's path -> new's; ``{i}`` stands for a number, the same in both. A
            path that is not named has the same name in both.
        absent: paths that one side alone has, by the same patterns.

    Raises:
        MmparityError: a path has no partner and is not declared absent, or an entry
            of ``names`` or ``absent`` says nothing of these models.
    """
    olds, news = list(old), set(new)
    used: set[str] = set()
    pairs: dict[str, str] = {}
    for path in olds:
        pattern, target = _renamed(path, names)
        used.add(pattern)
        if target in news and target not in pairs.values():
            pairs[path] = target
    alone = [path for path in olds if path not in pairs]
    alone += sorted(news - set(pairs.values()))
    undeclared = [path for path in alone if not _in(path, absent)]
    if undeclared:
        raise MmparityError(_no_partner(undeclared, {*olds, *news}))
    idle = [name for name in names if name not in used]
    idle += [p for p in absent if not any(_match(p, x) for x in (*olds, *news))]
    if idle:
        raise MmparityError(
            f"{idle[0]!r} is in names or absent, and no module has that path. Old's "
            f"are {', '.join(olds[:SHOWN])} and so on."
        )
    return pairs


def _renamed(path: str, names: Mapping[str, str]) -> tuple[str, str]:
    base, mark, number = path.partition("#")
    for pattern, target in names.items():
        found = _match(pattern, base)
        if found:
            for index in found.groups():
                target = target.replace("{i}", index, 1)
            return pattern, target + mark + number
    return "", path


def _match(pattern: str, path: str) -> re.Match[str] | None:
    parts = re.split(r"(\{i\}|\*)", pattern)
    kinds = {"{i}": r"(\d+)", "*": r".*"}
    text = "".join(kinds.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(text, path.partition("#")[0])


def _in(path: str, patterns: Sequence[str]) -> bool:
    return any(_match(pattern, path) for pattern in patterns)


def _no_partner(undeclared: Sequence[str], every: set[str]) -> str:
    first = undeclared[0]
    close = difflib.get_close_matches(first, every - {first}, n=1)
    hint = f" Closest: {close[0]!r}." if close else ""
    more = len(undeclared) - 1
    rest = f" and {more} more" if more else ""
    return (
        f"{first!r}{rest} ran on one side alone.{hint} Give its partner with "
        "names={'old.path.{i}': 'new.path.{i}'}, or declare it with absent=['path.*']."
    )
