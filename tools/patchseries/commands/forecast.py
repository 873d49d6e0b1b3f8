# SPDX-License-Identifier: Apache-2.0
"""`patchseries forecast`: each patch of a series on other releases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from patchseries.apply.derive import origins
from patchseries.commands.options import progress, say, series_option
from patchseries.errors import PatchseriesError
from patchseries.pins.releases import release_tree
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.rebase.forecast import APPLIES, LANDED, forecast, summary
from patchseries.series.folder import series_names


@click.command("forecast")
@click.argument("releases", nargs=-1, required=True, metavar="RELEASE|CHECKOUT...")
@series_option
@click.option("--text-only", is_flag=True, help="Run no tests of the patches.")
@click.option("--brief", is_flag=True, help="One line for each patch.")
@click.pass_obj
def forecast_command(
    project: Project,
    releases: tuple[str, ...],
    name: str | None,
    text_only: bool,
    brief: bool,
) -> None:
    """Say what becomes of each patch on a release or checkout, and why.

    A RELEASE is NAME-VERSION, as vllm-0.33.0, or a version with --series. Exit status:
    0 everything applies or has landed, 1 something is left to do, 2 could not look.
    """
    left = False
    for release in releases:
        for series, tree in _trees(project, release, name):
            found = forecast(project, series, tree, None if text_only else progress)
            say(f"{series} on {release}: {summary(found)}")
            width = max(len(fate.slug) for fate in found)
            for fate in found:
                say(f"  {fate.slug:{width}}  {fate.word:9}  {fate.reason}".rstrip())
                for text in () if brief else fate.details:
                    say(f"      {text}")
            left |= any(fate.word not in (APPLIES, LANDED) for fate in found)
    sys.exit(1 if left else 0)


def _trees(
    project: Project, release: str, name: str | None
) -> Iterator[tuple[str, Path]]:
    """Each series that is meant, with the tree that it is judged on."""
    sources = read_sources(project.pins)
    merged = origins(project)
    names = [name] if name else [n for n in series_names(project) if n not in merged]
    if missing := [one for one in names if one not in sources]:
        raise PatchseriesError("unknown-source", f"{missing[0]} is no pinned tree")
    folder = Path(release)
    if folder.is_dir():
        found = [one for one in names if (folder / sources[one].package).is_dir()]
        if found or name:
            yield from ((one, folder) for one in found or names)
            return
        raise PatchseriesError("foreign-directory", f"{release} is for no series")
    meant = [
        (one, release.removeprefix(f"{sources[one].name}-"))
        for one in names
        if name or release.startswith(f"{sources[one].name}-")
    ]
    meant = [
        (one, v) for one, v in meant if v[:1].isdigit() and (name or one != release)
    ]
    if not meant:
        raise PatchseriesError(
            "no-such-release",
            f"{release!r} is neither a folder nor a release of a series",
            "NAME-VERSION as vllm-0.33.0, or a version with --series",
        )
    for one, version in meant:
        yield one, release_tree(project, sources[one].name, version)[0]
