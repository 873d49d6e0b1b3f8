# SPDX-License-Identifier: Apache-2.0
"""`patchseries forecast`: each patch of a series on other releases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from patchseries.commands.options import (
    fetched_series,
    progress,
    progress_of,
    say,
    series_option,
)
from patchseries.errors import PatchseriesError
from patchseries.pins.fetch import require_pristine
from patchseries.pins.of_series import sources_of_series
from patchseries.pins.releases import release_tree
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.rebase.forecast import APPLIES, LANDED, Fate, forecast, summary


@dataclass(frozen=True)
class _Asked:
    """One series to be judged on what the user named.

    Attributes:
        version: of a release; empty where `release` is a folder.
    """

    series: str
    release: str
    version: str = ""


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

    \b
      patchseries forecast vllm-0.13.0
      patchseries forecast --text-only --brief vllm-0.13.0 vllm-ascend-0.13.0
    """
    left = False
    for asked in _all_asked(project, releases, name):
        tree, what = _tree(project, asked), f"{asked.series} on {asked.release}"
        with progress_of(what) as tell:
            found = forecast(project, asked.series, tree, not text_only, tell)
        say(f"{what}: {summary(found)}")
        for line in _lines(found, brief):
            say(line)
        left |= any(fate.word not in (APPLIES, LANDED) for fate in found)
    sys.exit(1 if left else 0)


def _lines(found: list[Fate], brief: bool) -> Iterator[str]:
    width = max(len(fate.slug) for fate in found)
    for fate in found:
        yield f"  {fate.slug:{width}}  {fate.word:9}  {fate.reason}".rstrip()
        yield from () if brief else (f"      {text}" for text in fate.details)


def _tree(project: Project, asked: _Asked) -> Path:
    if not asked.version:
        return Path(asked.release)
    name = read_sources(project.pins)[asked.series].name
    return release_tree(project, name, asked.version, progress)[0]


def _all_asked(
    project: Project, releases: tuple[str, ...], name: str | None
) -> list[_Asked]:
    """What is to be judged: known, and possible, before a release is downloaded."""
    sources = read_sources(project.pins)
    found = [one for release in releases for one in _asked(project, release, name)]
    names = list(dict.fromkeys(one.series for one in found))
    there = names if name else fetched_series(project, names)
    for one in there:
        require_pristine(project, sources[one])
    for release in releases:
        meant = [one.series for one in found if one.release == release]
        if not set(meant) & set(there):
            raise PatchseriesError(
                "not-fetched",
                f"no tree is fetched whose series could be judged on {release}",
                f"patchseries fetch {meant[0]}",
            )
    return [one for one in found if one.series in there]


def _asked(project: Project, release: str, name: str | None) -> list[_Asked]:
    """Each series that is meant by one of the user's words."""
    sources = sources_of_series(project, name)
    names = [one for one in sources if name or not sources[one].derived_from]
    folder = Path(release)
    if folder.is_dir():
        found = [one for one in names if (folder / sources[one].package).is_dir()]
        if found or name:
            return [_Asked(one, release) for one in found or names]
        packages = ", ".join(sorted({sources[one].package for one in names} - {""}))
        raise PatchseriesError(
            "foreign-directory",
            f"{release} holds no package of a series ({packages or 'none'})",
            "give the top of a source tree, a release as vllm-0.33.0, or --series NAME",
        )
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
    return [_Asked(one, release, version) for one, version in meant]
