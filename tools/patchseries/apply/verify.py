# SPDX-License-Identifier: Apache-2.0
"""Whether the packages that an interpreter imports carry the series, patch by patch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from patchseries.apply.apply import choose_series, classify_target
from patchseries.apply.interpreter import imported_folders
from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.folder import series_names
from patchseries.series.patch import FileChange, Patch, file_sections
from patchseries.series.series import Series
from patchseries.tree.target import PackageTarget

_TELLING = re.compile(rb"\w{3}.{5}")
WHOLE, PART, ABSENT = "whole", "in part", "not there"


@dataclass(frozen=True)
class Carried:
    """One patch in an imported package.

    Attributes:
        share: whole, in part or not there.
    """

    slug: str
    share: str
    detail: str = ""


@dataclass(frozen=True)
class Verified:
    """One series in the package that an interpreter imports."""

    series: str
    folder: Path
    patches: tuple[Carried, ...]

    @property
    def whole(self) -> bool:
        return all(one.share == WHOLE for one in self.patches)


def verify(project: Project, python: Path, name: str | None = None) -> list[Verified]:
    """Look at the files that `python` imports; a package it lacks is left out.

    Raises:
        PatchseriesError: it could not be asked, or imports no package of a series.
    """
    names = [name] if name else series_names(project)
    sources = read_sources(project.pins)
    if missing := [one for one in names if one not in sources]:
        raise PatchseriesError("unknown-source", f"{missing[0]} is no pinned tree")
    packages = sorted({sources[one].package for one in names} - {""})
    folders = imported_folders(python, packages)
    found = [_look(project, name, f) for p in packages if (f := folders[p])]
    if not found:
        wanted = ", ".join(packages) or "no package"
        raise PatchseriesError(
            "no-package",
            f"{python} does not import {wanted}",
            "give the interpreter that runs vLLM, as its venv's bin/python",
        )
    return found


def _look(project: Project, name: str | None, folder: Path) -> Verified:
    """The series `name`, else the one whose files are most those of the package."""
    target = PackageTarget(folder)
    series = choose_series(project, target, name, None)
    with scratch(project.objects(series.name)) as git:
        result = classify_target(project, git, target, series)
        current = target.snapshot(series.paths)
        rows = []
        for patch, verdict in zip(series.patches, result.verdicts, strict=True):
            if verdict.outcome in ("applied", "upstreamed"):
                rows.append(Carried(patch.slug, WHOLE))
            else:
                rows.append(_carried(git, target, series, patch, current))
    return Verified(series.name, folder, tuple(rows))


def _carried(
    git: Git,
    target: PackageTarget,
    series: Series,
    patch: Patch,
    current: Snapshot,
) -> Carried:
    """What of a patch is there, by files where these are known, else by lines."""
    chains, sections = series.chains(), file_sections(patch)
    number = series.patches.index(patch) + 1
    has: list[str] = []
    lacks: list[str] = []
    for change in patch.changes:
        states = [
            n for n, state in chains[change.path] if state == current[change.path]
        ]
        if states:
            there = max(states) >= number
        else:
            there = _has_lines(target, change, sections[change.path])
        (has if there else lacks).append(change.path)
    if not lacks:
        return Carried(patch.slug, WHOLE, "by its lines: its files were edited")
    share = PART if has else ABSENT
    return Carried(patch.slug, share, f"not in {_some(lacks)}" if has else "")


def _has_lines(target: PackageTarget, change: FileChange, lines: list[bytes]) -> bool:
    """Whether an edited file holds every telling line that a patch adds to it."""
    full = target.root / change.path
    if change.new is None or not full.is_file():
        return change.new is None and not full.exists()
    there = {line.strip() for line in full.read_bytes().splitlines()}
    old = {line[1:].strip() for line in lines if line[:1] == b"-"}
    new = {line[1:].strip() for line in lines if line[:1] == b"+"} - old
    telling = [line for line in new if _TELLING.search(line)]
    return bool(telling) and all(line in there for line in telling)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
