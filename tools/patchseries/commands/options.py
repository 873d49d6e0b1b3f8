# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how they speak."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from patchseries.apply.apply import ensure_patched
from patchseries.errors import PatchseriesError
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.series.folder import require_series, series_names

onto_option = click.option(
    "--onto",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Tree to work on, repeat [default: vllm_src/patched/<tree> of every series "
    "but those of optional trees that were not fetched].",
)
series_option = click.option("--series", "name", help="A folder of patches/.")


def say(text: str) -> None:
    """One line of the answer."""
    click.echo(text)


def progress(text: str) -> None:
    """What a long command is at, beside its answer."""
    click.echo(text, err=True)


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[str], None]]:
    """The same for one of the things that a command goes through.

    One line that changes on a terminal, and one for each text elsewhere.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(escape(what)) as line:
            yield lambda text: line.update(escape(f"{what}: {text}"))
    else:
        yield lambda text: progress(f"{what}: {text}")


def meant_series(project: Project, name: str | None) -> list[str]:
    """The series `name`; else each whose tree is everybody's or was fetched.

    Raises:
        PatchseriesError: there is none.
    """
    if name:
        require_series(project, name)
        return [name]
    names = fetched_series(project, series_names(project))
    if not names:
        raise PatchseriesError("no-series", f"{project.patches} holds no series")
    return names


def fetched_series(project: Project, names: Iterable[str]) -> list[str]:
    """Those whose tree is everybody's or was fetched; says how to add the others."""
    sources = read_sources(project.pins)
    found = []
    for one in names:
        optional = one in sources and sources[one].optional
        if optional and not project.pristine(one).exists():
            progress(f"{one}: left out (`patchseries fetch {one}` adds it)")
        else:
            found.append(one)
    return found


def find_targets(
    project: Project,
    onto: tuple[Path, ...],
    name: str | None,
    make: bool = False,
    tell: Callable[[str], None] = say,
) -> list[tuple[Path, str | None]]:
    """The trees that a command works on, each with its series when that is fixed.

    ``tell`` is told of a series without a tree.
    """
    if onto:
        return [(path, name) for path in onto]
    names = meant_series(project, name)
    sources = read_sources(project.pins)
    found: list[tuple[Path, str | None]] = []
    for one in names:
        path = project.patched / one
        if make:
            if one not in sources:
                raise PatchseriesError(
                    "unknown-source", f"{one} is no pinned tree", "give --onto"
                )
            path = ensure_patched(project, sources[one])
        if path.is_dir():
            found.append((path, one))
        else:
            tell(f"{one}: nothing is patched yet (no {path})")
    return found
