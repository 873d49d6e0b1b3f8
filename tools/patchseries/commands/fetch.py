# SPDX-License-Identifier: Apache-2.0
"""`patchseries fetch`: the pinned trees."""

from __future__ import annotations

import click

from patchseries.commands.options import say
from patchseries.pins.fetch import fetch as fetch_one
from patchseries.pins.sources import read_sources, select
from patchseries.project import Project


@click.command()
@click.argument("names", nargs=-1)
@click.option("--repair", is_flag=True, help="Make a changed tree anew.")
@click.option("--all", "optional", is_flag=True, help="The optional trees too.")
@click.pass_obj
def fetch(
    project: Project, names: tuple[str, ...], repair: bool, optional: bool
) -> None:
    """Download, verify and unpack the pinned trees.

    Without NAMES: those that are not optional; sources.toml says which are.

    \b
      patchseries fetch
      patchseries fetch vllm-0.33.0 vllm-0.30.0 vllm-ascend-0.30.0rc2
    """
    for source in select(read_sources(project.pins), list(names), optional):
        fetch_one(project, source, repair, say)
