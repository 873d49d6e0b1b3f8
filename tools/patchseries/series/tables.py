# SPDX-License-Identifier: Apache-2.0
"""The patch tables: each series' README.md and the one in the project's README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from patchseries.files import read_utf8
from patchseries.project import Project
from patchseries.series.folder import in_order, read_series, series_names
from patchseries.series.patch import Patch
from patchseries.series.series import Series

BEGIN = "<!-- patch-table:begin -->"
END = "<!-- patch-table:end -->"


def expected_files(
    project: Project, origins: Mapping[str, str], changed: Sequence[Series] = ()
) -> dict[Path, str]:
    """The files that hold tables, as they should be.

    Args:
        origins: series that are merged from another one -> that one.
        changed: series that are about to be written, in place of what is there.
    """
    found = {series.name: series for series in changed}
    names = in_order({*series_names(project), *found})
    every = [found.get(name) or read_series(project, name) for name in names]
    files = {
        project.patches / s.name / "README.md": series_page(s, origins.get(s.name, ""))
        for s in every
    }
    readme = project.root / "README.md"
    text = read_utf8(readme) if readme.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        parts = [_part(series, origins.get(series.name, "")) for series in every]
        files[readme] = f"{before}{BEGIN}\n" + "\n".join(parts) + f"{END}{after}"
    return files


def _part(series: Series, origin: str) -> str:
    """What README.md shows of one series."""
    if origin:
        return _derived(series, origin, f"patches/{series.name}")
    listed = table(series, f"patches/{series.name}/")
    summary = f"<b>{series.name}</b>: {len(series.patches)} patches"
    return f"<details><summary>{summary}</summary>\n\n{listed}\n</details>\n"


def _derived(series: Series, origin: str, folder: str) -> str:
    name = f"[{series.name}]({folder})" if folder else series.name
    return (
        f"**{name}**: {len(series.patches)} patches of {origin}, merged into that"
        " release by `patchseries refresh` and tested there.\n"
    )


def series_page(series: Series, origin: str = "") -> str:
    """The page of one series folder.

    Args:
        origin: the series that it is merged from.
    """
    merged = f"{_derived(series, origin, '')}\n" if origin else ""
    added = sum(patch.added for patch in series.patches)
    removed = sum(patch.removed for patch in series.patches)
    return (
        f"# Patches for {series.name}\n\n"
        f"{len(series.patches)} patches, +{added} -{removed} lines, in the order of "
        "`series`. Written by `patchseries refresh`; not to be edited by hand.\n\n"
        f"{merged}{table(series)}"
    )


def table(series: Series, prefix: str = "") -> str:
    """One row for each patch."""
    rows = ["| patch | why | lines | status | remove when |", "|---|---|---|---|---|"]
    rows += [_row(patch, prefix) for patch in series.patches]
    return "\n".join(rows) + "\n"


def _row(patch: Patch, prefix: str) -> str:
    cells: Sequence[str] = (
        f"[{patch.slug}]({prefix}{patch.slug}.patch)",
        patch.subject,
        f"+{patch.added} -{patch.removed}",
        patch.trailer("Upstream-Status") or "-",
        patch.trailer("Remove-when") or "-",
    )
    escaped = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"
