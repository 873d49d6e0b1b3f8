# SPDX-License-Identifier: Apache-2.0
"""Whether the packages that an interpreter imports carry the series, patch by patch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchseries.apply.apply import choose_series, classify_target, nearest_series
from patchseries.apply.edited import held, step_of
from patchseries.apply.interpreter import imported_folders
from patchseries.errors import PatchseriesError
from patchseries.git import Snapshot
from patchseries.pins.of_series import sources_of_series
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.folder import series_names
from patchseries.series.patch import Patch, file_sections
from patchseries.series.series import Series
from patchseries.tree.target import PackageTarget

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
    sources = sources_of_series(project, name)
    packages = sorted({source.package for source in sources.values()} - {""})
    folders = imported_folders(python, packages)
    targets = [PackageTarget(f) for one in packages if (f := folders[one])]
    found = [_look(project, _series(project, python, t, name), t) for t in targets]
    if not found:
        wanted = ", ".join(packages) or "no package"
        raise PatchseriesError(
            "no-package",
            f"{python} does not import {wanted}",
            "give the interpreter that runs vLLM, as its venv's bin/python",
        )
    return found


def _series(
    project: Project, python: Path, target: PackageTarget, name: str | None
) -> Series:
    """The series `name`, else the one whose files are most those of the package."""
    if name:
        return choose_series(project, target, name, None)
    if series := nearest_series(project, target):
        return series
    known = ", ".join(series_names(project)) or "none"
    raise PatchseriesError(
        "no-package",
        f"{python} imports {target.package} from {target.place}, which has none of"
        f" the files of any series ({known})",
        "give the interpreter of an environment with one of these releases",
    )


def _look(project: Project, series: Series, target: PackageTarget) -> Verified:
    """What of a series is in a package."""
    with scratch(project.objects(series.name)) as git:
        result = classify_target(project, git, target, series)
        there = _there(target, series, target.snapshot(series.paths))
    rows = []
    for number, patch in enumerate(series.patches, 1):
        if result.verdicts[number - 1].outcome in ("applied", "upstreamed"):
            rows.append(Carried(patch.slug, WHOLE))
        else:
            rows.append(_carried(patch, number, there))
    return Verified(series.name, target.place, tuple(rows))


def _carried(
    patch: Patch, number: int, there: dict[str, dict[int, bool | None]]
) -> Carried:
    """What of a patch is there, by those of its files that tell something of it."""
    told = {change.path: there[change.path][number] for change in patch.changes}
    lacks = [path for path, is_there in told.items() if is_there is False]
    if True not in told.values():
        return Carried(patch.slug, ABSENT)
    if lacks:
        return Carried(patch.slug, PART, f"not in {_some(lacks)}")
    return Carried(patch.slug, WHOLE, "by its lines: its files were edited")


def _there(
    target: PackageTarget, series: Series, current: Snapshot
) -> dict[str, dict[int, bool | None]]:
    """Per path, whether each patch's part is there: by content, else by its lines."""
    sections = [file_sections(patch) for patch in series.patches]
    found: dict[str, dict[int, bool | None]] = {}
    for path, chain in series.chains().items():
        numbers = [number for number, _ in chain[1:]]
        states = [number for number, state in chain if state == current[path]]
        if states:
            told: list[bool | None] = [number <= max(states) for number in numbers]
        elif (file := target.root / path).is_file():
            told = held(
                file.read_bytes(),
                [
                    step_of(sections[n - 1][path], deletes=state is None)
                    for n, state in chain[1:]
                ],
            )
        else:
            told = [False] * len(numbers)
        found[path] = dict(zip(numbers, told, strict=True))
    return found


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
