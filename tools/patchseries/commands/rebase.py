# SPDX-License-Identifier: Apache-2.0
"""`patchseries rebase`: a proposal for another release or checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from patchseries.commands.options import progress, progress_of, say, series_option
from patchseries.errors import PatchseriesError
from patchseries.pins.of_series import sources_of_series
from patchseries.pins.releases import release_tree
from patchseries.project import Project
from patchseries.rebase.proposal import Proposal, propose, write_proposal


@click.command()
@series_option
@click.option("--to", required=True, help="A release by its version, or a folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the result.")
@click.option("--diff", is_flag=True, help="Show what changed within the patches.")
@click.option("--text-only", is_flag=True, help="Run no tests of the patches.")
@click.pass_obj
def rebase(
    project: Project,
    name: str | None,
    to: str,
    out: Path | None,
    diff: bool,
    text_only: bool,
) -> None:
    """Propose a series for another release or checkout, in a new folder.

    \b
      patchseries rebase --series vllm-0.12.0 --to 0.13.0 --text-only
    """
    sources = sources_of_series(project, name)
    if len(sources) != 1:
        shown = ", ".join(sources) or "none"
        raise PatchseriesError("which-series", f"say --series; there are: {shown}")
    ((own, source),) = sources.items()
    folder, pin, version = Path(to), "", to
    if folder.is_dir():
        version = folder.resolve().name
    else:
        folder, pin = release_tree(project, source.name, to, progress)
    series = f"{source.name}-{version}"
    with progress_of(f"{own} on {to}") as tell:
        proposal = propose(project, own, folder, diff, not text_only, tell)
    for line in _lines(proposal):
        say(line)
    if proposal.whole:
        # Not below patches/: without its pin it would be no series that `check` knows.
        out = out or project.root / "build/rebase" / series
        write_proposal(project, proposal, out)
        say(f"wrote {len(proposal.files)} patches to {out}")
        say(f"to adopt them: its pin into {project.pins}, the folder to"
             f" {project.patches / series}")  # fmt: skip
    if pin:
        say(f"the pin:\n\n{pin}")
    sys.exit(1 if proposal.open or proposal.unproven else 0)


def _lines(proposal: Proposal) -> list[str]:
    """What became of each patch, where conflicts are, and git's comparison."""
    width = max(len(moved.slug) for moved in proposal.moved)
    lines = []
    for moved in proposal.moved:
        lines.append(f"{moved.slug:{width}}  {moved.outcome:9}  {moved.said}".rstrip())
        lines += [f"    {text}" for text in moved.explanation]
    if proposal.range_diff:
        lines += ["", "range-diff:", proposal.range_diff]
    kept = len([moved for moved in proposal.moved if moved.carried])
    counts = f"{kept} of {len(proposal.moved)} patches are carried over"
    groups = {"wait for a person": proposal.open, "are not proven": proposal.unproven}
    for what, group in groups.items():
        counts += f", {len(group)} {what}" if group else ""
    named = [
        f"  {what}: {', '.join(moved.slug for moved in group)}"
        for what, group in groups.items()
        if group
    ]
    return [*lines, "", counts, *named]
