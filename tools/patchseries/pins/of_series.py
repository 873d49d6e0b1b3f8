# SPDX-License-Identifier: Apache-2.0
"""The pins of the trees that series are for."""

from __future__ import annotations

from patchseries.errors import PatchseriesError
from patchseries.pins.sources import Source, read_sources
from patchseries.project import Project
from patchseries.series.folder import require_series, series_names


def sources_of_series(project: Project, name: str | None = None) -> dict[str, Source]:
    """The pin of the series `name`; without one, of every series.

    Raises:
        PatchseriesError: it is no series, or a series has no pin.
    """
    if name:
        require_series(project, name)
    names = [name] if name else series_names(project)
    sources = read_sources(project.pins)
    if missing := [one for one in names if one not in sources]:
        raise PatchseriesError(
            "unknown-source",
            f"the series {missing[0]} has no pin; pinned: {', '.join(sources)}",
            f"add the [[source]] of that tree to {project.pins}",
        )
    return {one: sources[one] for one in names}
