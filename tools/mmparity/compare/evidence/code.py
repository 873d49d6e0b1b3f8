# SPDX-License-Identifier: Apache-2.0
"""Which code ran at a case's first failing row, and how its tree was changed."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmparity.compare.descent import first_failing
from mmparity.types.evidence import CodeAt, FileChange, TreeChanges
from mmparity.types.row import LayerComparison
from mmparity.types.trace import TraceMeta

CALLERS = 2
"""A module that was named, and the one around it."""
MOST_LINES = 80
"""Of a function that is shown."""
MOST_FILES = 40
"""A tree that differs in more is another release: their number says it."""
MOST_DIFF = 20_000
"""Characters of one file's diff."""
_PLACE = re.compile(r"(?P<file>.+\.py):(?P<first>\d+)-(?P<last>\d+)")


def code_at(
    layers: Sequence[LayerComparison], old: TraceMeta, new: TraceMeta
) -> tuple[CodeAt, ...]:
    """Where the code is that made the first failing row, without its text."""
    first = first_failing(layers)
    if first is None:
        return ()
    sides = (("old", old, first.old_path), ("new", new, first.new_path))
    return tuple(
        found
        for side, meta, path in sides
        for found in _places(side, meta, path.partition("/")[0])
    )


def _places(side: str, meta: TraceMeta, path: str) -> Iterator[CodeAt]:
    """The module's own code, and that of the module which calls it."""
    parts = path.split(".")
    ways = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    known = [(way, _PLACE.fullmatch(meta.code.get(way, ""))) for way in ways]
    for module, place in [(way, place) for way, place in known if place][:CALLERS]:
        assert place is not None
        first, last = int(place["first"]), int(place["last"])
        yield CodeAt(side, module, place["file"], first, last)


def with_text(found: CodeAt, trees: Mapping[str, str]) -> CodeAt:
    """The same with its lines, of whichever tree has the file."""
    for folder in trees.values():
        root = Path(folder).resolve()
        file = (root / found.file).resolve()
        if file.is_relative_to(root) and file.is_file():
            lines = file.read_text(errors="replace").splitlines()
            last = min(found.last, found.first + MOST_LINES - 1)
            return replace(found, text="\n".join(lines[found.first - 1 : last]))
    return found


def changes_of(
    tree: str, folder: Path, sources: Path, default: str, patches: int
) -> TreeChanges | None:
    """How a tree differs from the one that its source has by default.

    None where it does not, or where there is no such base. A default tree is held
    against its own last commit.

    Args:
        tree: its name, IMPLEMENTATION:SOURCE.
        folder: the tree that ran.
        sources: where the pinned and the patched trees are.
        default: the default tree, from ``sources``.
        patches: number of patches that the default tree has.
    """
    base = sources / default
    if folder.resolve() == base.resolve():
        files = _uncommitted(folder)
    elif base.is_dir():
        files = _against(folder, base)
    else:
        return None
    if not files:
        return None
    kept = tuple(files) if len(files) <= MOST_FILES else ()
    return TreeChanges(tree, folder.name, default, patches, kept, len(files))


def _uncommitted(folder: Path) -> list[FileChange]:
    command = ["git", "-C", str(folder), "diff", "--no-ext-diff", "--no-color"]
    command += ["--src-prefix=a/", "--dst-prefix=b/"]  # whatever the user's are
    done = subprocess.run(
        [*command, "HEAD", "--", "*.py"],
        capture_output=True,
        text=True,
        errors="replace",
    )
    parts = re.split(r"^diff --git a/.* b/(.*)\n", done.stdout, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [FileChange(name, text[:MOST_DIFF]) for name, text in pairs]


def _against(folder: Path, base: Path) -> list[FileChange]:
    packages = [
        path.name for path in base.iterdir() if (path / "__init__.py").is_file()
    ]
    names = sorted(
        {
            str(Path(root, file).relative_to(side))
            for side in (folder, base)
            for package in packages
            for root, _, files in os.walk(side / package)
            for file in files
            if file.endswith(".py")
        }
    )
    changed = []
    for name in names:
        was, now = (_content(side / name) for side in (base, folder))
        if was != now:
            changed.append(FileChange(name, ""))
    if len(changed) > MOST_FILES:
        return changed
    return [replace(item, diff=_diff(item.file, folder, base)) for item in changed]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _diff(name: str, folder: Path, base: Path) -> str:
    was, now = (
        _content(side / name).decode(errors="replace").splitlines(keepends=True)
        for side in (base, folder)
    )
    text = "".join(difflib.unified_diff(was, now, f"a/{name}", f"b/{name}"))
    return text[:MOST_DIFF]
