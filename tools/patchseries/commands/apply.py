# SPDX-License-Identifier: Apache-2.0
"""`patchseries apply`: a series onto trees."""

from __future__ import annotations

from pathlib import Path

import click

from patchseries.apply.apply import Options, apply_all
from patchseries.commands.options import find_targets, onto_option, say, series_option
from patchseries.project import Project


@click.command()
@onto_option
@series_option
@click.option("--3way", "three_way", is_flag=True, help="Merge where files differ.")
@click.option("--signoff", is_flag=True, help="Commit as you, with Signed-off-by.")
@click.pass_obj
def apply(
    project: Project,
    onto: tuple[Path, ...],
    name: str | None,
    three_way: bool,
    signoff: bool,
) -> None:
    """Apply a series to a tree, or one to each of several: all of it, or nothing.

    \b
      patchseries apply
      patchseries apply --onto vllm_src/patched/vllm-0.12.0
    """
    targets = find_targets(project, onto, name, make=True)
    for line in apply_all(project, targets, Options(three_way, signoff)):
        say(line)
