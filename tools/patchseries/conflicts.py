# SPDX-License-Identifier: Apache-2.0
"""Where and why a patch does not merge, file by file and place by place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from patchseries.classify import Snapshot
from patchseries.git import Git
from patchseries.series import FileChange, Patch
from patchseries.target import GitTarget, Target

_SHOWN = 3  # lines of each side, files of the same name
_OURS, _BASE, _THEIRS, _END = "<<<<<<<", "|||||||", "=======", ">>>>>>>"


def explain(git: Git, target: Target, patch: Patch, current: Snapshot) -> Iterator[str]:
    """One line for each file of the patch that does not merge, and for each place.

    Args:
        git: a repository with the blobs of `current` and of the patch.
    """
    for change in patch.changes:
        found = current.get(change.path)
        if found == change.old or found == change.new:
            continue
        if found is None:
            yield f"{change.path}: is not there{_same_name(target, change)}"
        elif change.old is None:
            yield f"{change.path}: is there already, and the patch adds it"
        elif change.new is None:
            yield f"{change.path}: has changed, and the patch removes it"
        else:
            yield from _places(git, change, found[1])


def _places(git: Git, change: FileChange, found: str) -> Iterator[str]:
    assert change.old is not None and change.new is not None
    with TemporaryDirectory(prefix="patchseries-") as folder:
        sides = [Path(folder, name) for name in ("tree", "base", "patch")]
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


def _same_name(target: Target, change: FileChange) -> str:
    """Where a moved file may be now."""
    name = PurePosixPath(change.path).name
    if isinstance(target, GitTarget):
        listed = target.git.records("ls-tree", "-r", "-z", "--name-only", target.head)
        hits = [path for path in listed if PurePosixPath(path).name == name]
    else:
        hits = [str(p.relative_to(target.root)) for p in target.root.rglob(name)]
    return f"; of that name: {', '.join(sorted(hits)[:_SHOWN])}" if hits else ""
