# SPDX-License-Identifier: Apache-2.0
"""`patchseries unapply`: a series out of trees."""

from __future__ import annotations

from pathlib import Path

import click

from patchseries.apply.unapply import unapply_all
from patchseries.commands.options import find_targets, onto_option, say, series_option
from patchseries.project import Project


@click.command()
@onto_option
@series_option
@click.pass_obj
def unapply(project: Project, onto: tuple[Path, ...], name: str | None) -> None:
    """Take a series out: back to the exact tree from before.

    \b
      patchseries unapply --series vllm-0.12.0
    """
    for line in unapply_all(project, find_targets(project, onto, name)):
        say(line)
