# SPDX-License-Identifier: Apache-2.0
"""`patchseries status`: what is applied where, and why not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from patchseries.apply.status import status as status_of
from patchseries.commands.options import (
    find_targets,
    onto_option,
    progress,
    say,
    series_option,
)
from patchseries.project import Project


@click.command()
@onto_option
@series_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def status(
    project: Project, onto: tuple[Path, ...], name: str | None, as_json: bool
) -> None:
    """Show what is applied, what would apply, and why not.

    \b
      patchseries status
      patchseries status --series vllm-0.12.0 --json
    """
    targets = find_targets(project, onto, name, tell=progress if as_json else say)
    found = [status_of(project, path, series) for path, series in targets]
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=1))
        return
    from rich.console import Console  # as slow to import as all else

    from patchseries.commands.terminal import status_table

    console = Console(soft_wrap=True, highlight=False)
    for one in found:
        console.print(status_table(one))
