# SPDX-License-Identifier: Apache-2.0
"""A release or checkout that a series is moved onto: its files, by path or name."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath

from patchseries.tree.target import GitTarget, PackageTarget, Target

_PRIVATE = (".git", ".patchseries", "__pycache__")


class Elsewhere:
    """The files of a target; a git target's are those of its commit."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def read(self, path: str) -> bytes | None:
        """A file's bytes, None when there is no such file."""
        target = self.target
        if isinstance(target, GitTarget):
            state = target.snapshot([path])[path]
            if state is None or not state[0].startswith("100"):
                return None
            return target.git.output("cat-file", "blob", state[1])
        full = target.root / path
        return full.read_bytes() if full.is_file() else None

    def same_name(self, path: str) -> list[str]:
        """Every other path whose last part is that of `path`: where it may be now."""
        names = self._by_name[PurePosixPath(path).name]
        return [name for name in names if name != path]

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._paths()):
            found[PurePosixPath(path).name].append(path)
        return found

    def _paths(self) -> list[str]:
        target = self.target
        if isinstance(target, GitTarget):
            return target.git.records("ls-tree", "-r", "-z", "--name-only", target.head)
        top = target.root
        if isinstance(target, PackageTarget):
            top = top / target.package
        paths = []
        for parent, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name not in _PRIVATE]
            inner = Path(parent).relative_to(target.root)
            paths += [str(inner / name) for name in files]
        return paths
