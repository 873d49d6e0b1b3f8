# SPDX-License-Identifier: Apache-2.0
"""Series as folders: `patches/<tree>/series` and its patch files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.files import read_utf8
from patchseries.project import Project
from patchseries.series.patch import Patch, parse_patch
from patchseries.series.series import Series, SeriesLine, parse_series_file


def series_names(project: Project) -> list[str]:
    """Every series folder that holds a series, those of the newest releases first."""
    return in_order(path.parent.name for path in project.patches.glob("*/series"))


def require_series(project: Project, name: str) -> None:
    """Refuse what is no series, with those that are."""
    known = series_names(project)
    if name not in known:
        raise PatchseriesError(
            "no-series",
            f"{name!r} is no series of {project.patches}; there are:"
            f" {', '.join(known) or 'none'}",
            f"give one of these, as `--series {known[0]}`"
            if known
            else "`patchseries refresh --onto <checkout> --series NAME` makes one",
        )


def in_order(names: Iterable[str]) -> list[str]:
    """Names of trees, the newest releases first, each release's in the alphabet."""
    return sorted(sorted(names), key=_release, reverse=True)


def _release(name: str) -> list[int]:
    """The numbers of the release in a tree's name, without those of a candidate."""
    version = re.search(r"-(\d+(?:\.\d+)*)", name)
    return [int(number) for number in version[1].split(".")] if version else []


def read_lines(folder: Path) -> tuple[list[SeriesLine], tuple[str, ...]]:
    """The `series` file."""
    return parse_series_file(read_utf8(folder / "series"))


def read_series(project: Project, name: str) -> Series:
    """The series `name` with all its patches."""
    folder = project.patches / name
    try:
        lines, _ = read_lines(folder)
    except FileNotFoundError:
        known = ", ".join(series_names(project)) or "none"
        raise PatchseriesError(
            "no-series",
            f"{folder} holds no `series` file; known series: {known}",
            "`patchseries refresh --onto <checkout> --series NAME` makes one",
        ) from None
    patches = []
    for line in lines:
        path = folder / f"{line.slug}.patch"
        try:
            patches.append(parse_patch(line.slug, path.read_bytes()))
        except FileNotFoundError:
            raise PatchseriesError(
                "missing-patch", f"{folder / 'series'} lists {path.name}, not there"
            ) from None
    if not patches:
        raise PatchseriesError("no-series", f"{folder / 'series'} lists no patch")
    return Series(name, tuple(patches))


def file_digests(patches: Iterable[Patch]) -> dict[str, str]:
    """One hash for each patch file."""
    return {p.slug: hashlib.sha256(p.data).hexdigest() for p in patches}


def digest(series: Series) -> str:
    """One hash over the order and bytes of a series."""
    whole = hashlib.sha256()
    for patch in series.patches:
        whole.update(f"{patch.slug}\0{len(patch.data)}\0".encode())
        whole.update(patch.data)
    return whole.hexdigest()
