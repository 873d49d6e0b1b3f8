# SPDX-License-Identifier: Apache-2.0
"""Files of a series that have another path in another tree."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from patchseries.git import Git, State
from patchseries.rebase.elsewhere import Elsewhere
from patchseries.series.patch import FileChange, Patch

_ALIKE = 0.5  # of the lines of both files, as git takes a file to be renamed


class Renames:
    """Finds where a file went, by its name and its lines."""

    def __init__(self, git: Git, there: Elsewhere) -> None:
        self._git = git
        self._there = there
        self._found: dict[str, str] = {}

    def follow(self, patch: Patch, current: dict[str, State]) -> Patch:
        """The patch with the paths that its files have there.

        Args:
            current: gets the state of each file that is found elsewhere.
        """
        gone = [c for c in patch.changes if c.old and current.get(c.path) is None]
        pairs = {c.path: new for c in gone if (new := self._place(c))}
        for path in pairs.values():
            if path not in current:
                state = self._there.target.snapshot([path])
                self._there.target.load(self._git, state)
                current |= state
        return _with_paths(patch, pairs) if pairs else patch

    def _place(self, change: FileChange) -> str:
        if change.path not in self._found:
            self._found[change.path] = self._search(change)
        return self._found[change.path]

    def _search(self, change: FileChange) -> str:
        assert change.old is not None
        own = self._git.output("cat-file", "blob", change.old[1])
        shares = {
            path: _alike(own, self._there.read(path) or b"")
            for path in self._there.same_name(change.path)
        }
        best = max(shares, key=lambda path: shares[path], default="")
        return best if best and shares[best] >= _ALIKE else ""


def _alike(one: bytes, other: bytes) -> float:
    """The share of lines that two files have in common, 0 to 1."""
    lines = [
        Counter(filter(None, map(bytes.strip, x.split(b"\n")))) for x in (one, other)
    ]
    total = sum(counter.total() for counter in lines)
    return 2 * (lines[0] & lines[1]).total() / total if total else 0.0


def _with_paths(patch: Patch, pairs: Mapping[str, str]) -> Patch:
    head, *sections = patch.data.split(b"\ndiff --git ")
    names = {os.fsencode(old): os.fsencode(new) for old, new in pairs.items()}
    data = b"\ndiff --git ".join([head, *(_renamed(s, names) for s in sections)])
    changes = tuple(replace(c, path=pairs.get(c.path, c.path)) for c in patch.changes)
    return replace(patch, data=data, changes=changes)


def _renamed(section: bytes, names: Mapping[bytes, bytes]) -> bytes:
    header, hunk, rest = section.partition(b"\n@@")
    first, *more = header.split(b"\n")
    for old, new in names.items():
        if first == b"a/%b b/%b" % (old, old):
            first = b"a/%b b/%b" % (new, new)
            ends = {b"--- a/" + old: b"--- a/" + new, b"+++ b/" + old: b"+++ b/" + new}
            more = [ends.get(line, line) for line in more]
            break
    return b"\n".join([first, *more]) + hunk + rest
