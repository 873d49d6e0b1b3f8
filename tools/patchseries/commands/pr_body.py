# SPDX-License-Identifier: Apache-2.0
"""`patchseries pr-body`: the text of one pull request."""

from __future__ import annotations

from pathlib import Path

import click

from patchseries.project import Project
from patchseries.proof.evidence import evidence
from patchseries.proof.prbody import find_patch
from patchseries.proof.prbody import pr_body as body_of


@click.command("pr-body")
@click.argument("slug")
@click.option("--draft", is_flag=True, help="Without results.")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Folder of a parity run [default: build/parity].",
)
@click.pass_obj
def pr_body(project: Project, slug: str, draft: bool, run: Path | None) -> None:
    """Print the text of the pull request for one patch, with its last results.

    SLUG is the patch's name, as SERIES/SLUG where two series have one of that name.

    \b
      patchseries pr-body --draft apply-rotary-emb
    """
    series, patch = find_patch(project, slug)
    run = run or project.root / "build/parity"
    results = [] if draft else evidence(project, series.name, patch.slug, run)
    click.echo(body_of(series, patch, results), nl=False)
