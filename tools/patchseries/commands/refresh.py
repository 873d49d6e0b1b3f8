# SPDX-License-Identifier: Apache-2.0
"""`patchseries refresh`: edited commits back to patch files."""

from __future__ import annotations

from pathlib import Path

import click

from patchseries.apply.losses import require_known
from patchseries.apply.refresh import refresh as refresh_one
from patchseries.commands.options import find_targets, onto_option, say, series_option
from patchseries.project import Project


@click.command()
@onto_option
@series_option
@click.option("--base", help="Commit that the series starts from.")
@click.option("--drop", multiple=True, help="SLUG of a patch meant to go; repeat.")
@click.pass_obj
def refresh(
    project: Project,
    onto: tuple[Path, ...],
    name: str | None,
    base: str | None,
    drop: tuple[str, ...],
) -> None:
    """Write edited commits back as patch files.

    Refuses where the tree comes from an older series than the one in patches/.

    \b
      patchseries refresh
      patchseries refresh --series vllm-0.12.0
    """
    require_known(project, drop)
    for path, series in find_targets(project, onto, name):
        for line in refresh_one(project, path, series, base, drop):
            say(line)
