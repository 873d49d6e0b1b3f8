# SPDX-License-Identifier: Apache-2.0
"""Arguments, printing and exit codes; what the commands do is in their modules."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchseries.errors import PatchseriesError, as_refusal
from patchseries.pins.sources import read_sources, select
from patchseries.project import Project

if TYPE_CHECKING:
    from patchseries.series.lint import Finding


def _say(text: str) -> None:
    click.echo(text)


class _Commands(click.Group):
    """Ends whatever goes wrong in one message and exit status 2."""

    def invoke(self, ctx: click.Context) -> object:
        if isinstance(sys.stdout, TextIOWrapper):  # names of files are bytes
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads it has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(2)
        except (PatchseriesError, OSError, UnicodeError, KeyboardInterrupt) as error:
            click.echo(f"patchseries: {as_refusal(error)}", err=True)
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
    """The command group."""
    from patchseries.tree.project_files import settle_files

    ctx.obj = Project(root.resolve()) if root else Project.here()
    settle_files(ctx.obj)


_onto = click.option(
    "--onto",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Tree to work on, repeat [default: vllm_src/patched/<tree> of every series].",
)
_series = click.option("--series", "name", help="A folder of patches/.")


def _targets(
    project: Project, onto: tuple[Path, ...], name: str | None, make: bool = False
) -> list[tuple[Path, str | None]]:
    """The trees that a command works on, each with its series when that is fixed."""
    from patchseries.apply.apply import ensure_patched
    from patchseries.series.folder import series_names

    if onto:
        return [(path, name) for path in onto]
    names = [name] if name else series_names(project)
    if not names:
        raise PatchseriesError("no-series", f"{project.patches} holds no series")
    sources = read_sources(project.pins)
    targets: list[tuple[Path, str | None]] = []
    for one in names:
        path = project.patched / one
        if make:
            if one not in sources:
                raise PatchseriesError(
                    "unknown-source", f"{one} is no pinned tree", "give --onto"
                )
            path = ensure_patched(project, sources[one])
        if path.is_dir():
            targets.append((path, one))
        else:
            _say(f"{one}: nothing is patched yet (no {path})")
    return targets


@main.command()
@click.argument("names", nargs=-1)
@click.option("--repair", is_flag=True, help="Make a changed tree anew.")
@click.pass_obj
def fetch(project: Project, names: tuple[str, ...], repair: bool) -> None:
    """Download, verify and unpack the pinned trees (default: all)."""
    from patchseries.pins.fetch import fetch as fetch_one

    for source in select(read_sources(project.pins), list(names)):
        fetch_one(project, source, repair, _say)


@main.command()
@_onto
@_series
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
    """Apply a series to a tree, or one to each of several: all of it, or nothing."""
    from patchseries.apply.apply import Options, apply_all

    targets = _targets(project, onto, name, make=True)
    for line in apply_all(project, targets, Options(three_way, signoff)):
        _say(line)


@main.command()
@_onto
@_series
@click.pass_obj
def unapply(project: Project, onto: tuple[Path, ...], name: str | None) -> None:
    """Take a series out: back to the exact tree from before."""
    from patchseries.apply.unapply import unapply_all

    for line in unapply_all(project, _targets(project, onto, name)):
        _say(line)


@main.command()
@_onto
@_series
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
    """
    from patchseries.apply.losses import require_known
    from patchseries.apply.refresh import refresh as refresh_one

    require_known(project, drop)
    for path, series in _targets(project, onto, name):
        for line in refresh_one(project, path, series, base, drop):
            _say(line)


@main.command()
@_onto
@_series
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def status(
    project: Project, onto: tuple[Path, ...], name: str | None, as_json: bool
) -> None:
    """Show what is applied, what would apply, and why not."""
    from rich.console import Console

    from patchseries.apply.status import status as status_of
    from patchseries.terminal import status_table

    found = [status_of(project, p, s) for p, s in _targets(project, onto, name)]
    if as_json:
        _say(json.dumps([one.as_json() for one in found], indent=1))
        return
    console = Console(soft_wrap=True, highlight=False)
    for one in found:
        console.print(status_table(one))


@main.command()
@_series
@click.option("--fast", is_flag=True, help="Files, headers and tables only.")
@click.option("--red-green", is_flag=True, help="Run the patches' tests too (slow).")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def check(
    project: Project, name: str | None, fast: bool, red_green: bool, as_json: bool
) -> None:
    """Prove that the files agree, and that each patch is fit to be sent.

    Results of upstream's gates and of the tests are kept until what they are about
    changes.
    """
    from patchseries.proof.check import check as check_one
    from patchseries.proof.check import check_patches, check_tables
    from patchseries.series.folder import series_names

    names = [name] if name else series_names(project)
    if not names:
        raise PatchseriesError("no-series", f"{project.patches} holds no series")
    findings = [finding for one in names for finding in check_one(project, one)]
    if not any(finding.kind == "missing" for finding in findings):
        findings += check_tables(project)
    broken = [f for f in findings if f.kind in ("missing", "content")]
    if not fast and not [f for f in broken if f.patch != "(commits)"]:
        for one in names:
            findings += check_patches(project, one, red_green, _progress)
    _report(names, findings, as_json)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _report(names: list[str], findings: list[Finding], as_json: bool) -> None:
    if as_json:
        _say(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for f in findings:
            _say(f"{f.series}/{f.patch}: {f.kind}: {f.detail}")
        _say(f"{', '.join(names)}: {len(findings) or 'no'} findings")
    sys.exit(1 if findings else 0)


@main.command()
@_series
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
    """Propose a series for another release or checkout, in a new folder."""
    from patchseries.pins.releases import release_tree
    from patchseries.rebase.proposal import propose, write_proposal
    from patchseries.series.folder import series_names
    from patchseries.terminal import proposal_lines

    names = [name] if name else series_names(project)
    if len(names) != 1:
        shown = ", ".join(names) or "none"
        raise PatchseriesError("which-series", f"say --series; there are: {shown}")
    source = select(read_sources(project.pins), names)[0]
    folder, pin, version = Path(to), "", to
    if folder.is_dir():
        version = folder.resolve().name
    else:
        folder, pin = release_tree(project, source.name, to)
    series = f"{source.name}-{version}"
    say = None if text_only else _progress
    proposal = propose(project, names[0], folder, diff, say)
    for line in proposal_lines(proposal):
        _say(line)
    if proposal.whole:
        # Not below patches/: without its pin it would be no series that `check` knows.
        out = out or project.root / "build/rebase" / series
        write_proposal(project, proposal, out)
        _say(f"wrote {len(proposal.files)} patches to {out}")
        _say(f"to adopt them: its pin into {project.pins}, the folder to"
             f" {project.patches / series}")  # fmt: skip
    if pin:
        _say(f"the pin:\n\n{pin}")
    sys.exit(1 if proposal.open or proposal.unproven else 0)


@main.command("test-upstream")
@click.pass_obj
def test_upstream(project: Project) -> None:
    """Run upstream's own tests on both trees: they must give the same results."""
    from patchseries.proof.upstream import compare_upstream
    from patchseries.series.folder import series_names

    bad = 0
    for name in series_names(project):
        for file in compare_upstream(project, name, _progress):
            _say(f"{file.path}: {file.summary}")
            for test in file.failing:
                _say(f"  {test}: fails on both")
            for test, before, after in file.differing:
                _say(f"  {test}: {before} before, {after} after")
            bad += bool(file.problem or file.differing)
    sys.exit(1 if bad else 0)


@main.command("pr-body")
@click.argument("slug")
@click.option("--draft", is_flag=True, help="Without results.")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Folder of a parity run [default: build/parity].",
)
@click.pass_obj
def pr_body(project: Project, slug: str, draft: bool, run: Path | None) -> None:
    """Print the text of the pull request for one patch, with its last results."""
    from patchseries.proof.evidence import evidence
    from patchseries.proof.prbody import find_patch
    from patchseries.proof.prbody import pr_body as body_of

    series, patch = find_patch(project, slug)
    run = run or project.root / "build/parity"
    results = [] if draft else evidence(project, series.name, patch.slug, run)
    click.echo(body_of(series, patch, results), nl=False)
