# SPDX-License-Identifier: Apache-2.0
"""Arguments, printing and exit codes; what the commands do is in their modules."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.sources import read_sources, select

_err = Console(stderr=True, highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    click.echo(text)


class _Commands(click.Group):
    """Turns what the user can mend into one message and exit status 2."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PatchseriesError as error:
            _err.print(f"patchseries: {error}", markup=False)
            sys.exit(2)


@click.group(cls=_Commands, help=__import__("patchseries").__doc__)
@click.option(
    "--project",
    "root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Checkout that holds patches/ and vllm_src/ [default: this one].",
)
@click.pass_context
def main(ctx: click.Context, root: Path | None) -> None:
    ctx.obj = Project(root.resolve()) if root else Project.here()


@main.command()
@click.argument("names", nargs=-1)
@click.option("--repair", is_flag=True, help="Make a changed tree anew.")
@click.pass_obj
def fetch(project: Project, names: tuple[str, ...], repair: bool) -> None:
    """Download, verify and unpack the pinned trees (default: all)."""
    from patchseries.fetch import fetch as fetch_one

    for source in select(read_sources(project.pins), list(names)):
        fetch_one(project, source, repair, _say)
