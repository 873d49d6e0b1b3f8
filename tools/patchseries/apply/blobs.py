# SPDX-License-Identifier: Apache-2.0
"""Patches on files that they were written for, without a git process for each.

The blob ids in the patch prove the result; what cannot be done here is left to git.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from patchseries.git import Git, State, blob_id
from patchseries.series.patch import Patch, file_sections

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")


class Blobs:
    """File contents by id; new ones reach the repository with `flush`."""

    def __init__(self, git: Git, states: Iterable[State]) -> None:
        self._git = git
        ids = [state[1] for state in states if state and state[0].startswith("100")]
        self._contents = dict(_read(git, ids))
        self._new: dict[str, bytes] = {}

    def replay(self, patch: Patch, current: Mapping[str, State]) -> bool:
        """Make the files after a patch; False where that is left to git."""
        sections = file_sections(patch)
        made = {}
        for change in patch.changes:
            if change.new is None:
                continue
            old = current.get(change.path)
            content = self._contents.get(old[1]) if old else b""
            if content is None:
                return False
            after = _apply(content, sections[change.path])
            if after is None or blob_id(after) != change.new[1]:
                return False
            made[change.new[1]] = after
        self._contents |= made
        self._new |= made
        return True

    def flush(self) -> None:
        """Store what is new, so that git can read it."""
        if not self._new:
            return
        self._git.add_blobs(self._new.values())
        self._new = {}


def _read(git: Git, ids: list[str]) -> Iterator[tuple[str, bytes]]:
    lines = "".join(f"{name}\n" for name in dict.fromkeys(ids)).encode()
    data = git.output("cat-file", "--batch", stdin=lines) if ids else b""
    position = 0
    while position < len(data):
        end = data.index(b"\n", position)
        words = data[position:end].decode().split()
        position = end + 1
        if len(words) == 3:  # else: missing, as in a blobless clone
            size = int(words[2])
            yield words[0], data[position : position + size]
            position += size + 1


def _apply(content: bytes, section: list[bytes]) -> bytes | None:
    """Follow the hunks by their line numbers; None where a line is another one."""
    old = re.findall(rb"[^\n]*\n|[^\n]+", content)
    out: list[bytes] = []
    position = 0
    for number, line in enumerate(section):
        if hunk := _HUNK.match(line):
            start = int(hunk[1]) - (hunk[2] != b"0")
            out += old[position:start]
            position = start
        elif line[:1] == b"\\" and out and section[number - 1][:1] in b" +":
            out[-1] = out[-1].removesuffix(b"\n")
        elif line[:1] == b"+":
            out.append(line[1:] + b"\n")
        elif line[:1] in (b"-", b" ") and line:
            if old[position : position + 1] not in ([line[1:] + b"\n"], [line[1:]]):
                return None
            if line[:1] == b" ":
                out.append(line[1:] + b"\n")
            position += 1
    return b"".join([*out, *old[position:]])
