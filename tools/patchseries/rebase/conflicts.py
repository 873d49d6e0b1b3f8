# SPDX-License-Identifier: Apache-2.0
"""Where and why a patch does not merge, and what of it another tree has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from patchseries.git import Git, Snapshot
from patchseries.proof.walk import TESTS
from patchseries.rebase.elsewhere import Elsewhere
from patchseries.scratch import scratch_folder
from patchseries.series.patch import FileChange, Patch, file_sections

_SHOWN = 3  # lines of each side, files of the same name
_TELLING = re.compile(rb"\w{3}.{5}")
_OURS, _BASE, _THEIRS, _END = "<<<<<<<", "|||||||", "=======", ">>>>>>>"


def explain(
    git: Git, there: Elsewhere, patch: Patch, current: Snapshot, places: bool = True
) -> Iterator[str]:
    """What of a patch is in another tree, then where it does not merge.

    Args:
        git: a repository with the blobs of `current` and of the patch.
        places: file by file and place by place; else only what is there.
    """
    yield from _traces(there, patch)
    for change in patch.changes if places else ():
        found = current.get(change.path)
        if found == change.old or found == change.new:
            continue
        if found is None:
            yield f"{change.path}: is not there{_same_name(there, change)}"
        elif change.old is None:
            yield f"{change.path}: is there already, and the patch adds it"
        elif change.new is None:
            yield f"{change.path}: has changed, and the patch removes it"
        else:
            yield from _places(git, change, found[1])


def _places(git: Git, change: FileChange, found: str) -> Iterator[str]:
    assert change.old is not None and change.new is not None
    with scratch_folder() as folder:
        sides = [folder / name for name in ("tree", "base", "patch")]
        blobs = (found, change.old[1], change.new[1])
        for side, blob in zip(sides, blobs, strict=True):
            side.write_bytes(git.output("cat-file", "blob", blob))
        merged = git.raw("merge-file", "-p", "--diff3", "-q", *map(str, sides))
    places = list(_parse(merged.stdout.decode(errors="replace").splitlines()))
    if places:
        yield f"{change.path}: {len(places)} of the changed places differ"
    for line, tree, patch in places:
        yield f"  line {line}"
        yield from (f"    there: {text}" for text in _short(tree))
        yield from (f"    patch: {text}" for text in _short(patch))


def _parse(lines: list[str]) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line in the tree's file, its text, the patch's text) of each conflict."""
    side, number = "", 0
    texts: dict[str, list[str]] = {}
    for line in lines:
        word = line[:7]
        if word == _OURS and not side:
            side, texts = _OURS, {_OURS: [], _BASE: [], _THEIRS: []}
            start = number + 1
        elif side and word in (_BASE, _THEIRS) and word != side:
            side = word
        elif side == _THEIRS and word == _END:
            yield start, texts[_OURS], texts[_THEIRS]
            side = ""
        elif side:
            texts[side].append(line)
            number += side == _OURS
        else:
            number += 1


def _short(lines: list[str]) -> list[str]:
    shown = [line.rstrip() for line in lines if line.strip()]
    more = [f"... {len(shown) - _SHOWN} more lines"] if len(shown) > _SHOWN else []
    return [*shown[:_SHOWN], *more] or ["(nothing)"]


def _same_name(there: Elsewhere, change: FileChange) -> str:
    """Where a moved file may be now."""
    hits = there.same_name(change.path)
    return f"; of that name: {', '.join(hits[:_SHOWN])}" if hits else ""


def _traces(there: Elsewhere, patch: Patch) -> Iterator[str]:
    """How much of the code that a patch adds is there, and of what it removes is gone.

    Lines that say little alone, and tests, are not counted.
    """
    added, removed, kept, gone = 0, 0, 0, 0
    for path, lines in file_sections(patch).items():
        if path.startswith(TESTS):
            continue
        has = _lines_of(there, path)
        new = {line[1:].strip() for line in lines if line[:1] == b"+"}
        old = {line[1:].strip() for line in lines if line[:1] == b"-"}
        mine = [line for line in new - old if _TELLING.search(line)]
        theirs = [line for line in old - new if _TELLING.search(line)]
        added, kept = added + len(mine), kept + sum(line in has for line in mine)
        removed += len(theirs)
        gone += sum(line not in has for line in theirs)
    if added or removed:
        yield f"of its code, {kept} of {added} added lines are there, {gone} of" + (
            f" {removed} removed lines are gone"
        )


def _lines_of(there: Elsewhere, path: str) -> set[bytes]:
    content = there.read(path)
    if content is None:
        contents = [there.read(other) or b"" for other in there.same_name(path)]
        content = b"\n".join(contents)
    return {line.strip() for line in content.splitlines()}
