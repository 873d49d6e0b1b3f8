# SPDX-License-Identifier: Apache-2.0
"""`mmparity report`, and how every command ends that has a verdict."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from mmparity.commands.options import DEFAULT_OUT, EPILOG
from mmparity.locks import held
from mmparity.types.comparison import ComparisonResult
from mmparity.types.verdict import EXIT_CODES

FORMATS = ("html", "markdown", "junit", "text")


@click.command(epilog=EPILOG)
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_OUT)
@click.option(
    "--format",
    "formats",
    default=",".join(FORMATS[:3]),
    help="html, markdown, junit, text; several with commas. Default: the first three.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in a browser.")
def report(directory: Path, formats: str, show: bool) -> None:
    """Render a comparison.json again; exits with its verdict.

    DIRECTORY is the folder of a result, or its file:

    \b
      mmparity report
      mmparity report build/fast --format text
      mmparity report build/fast/comparison.json --format html --open
    """
    from mmparity.compare.result import read_result
    from mmparity.project import known
    from mmparity.report import FILES, terminal_summary, write_reports

    names = [name.strip() for name in formats.split(",")]
    for name in names:
        known("format", name, FILES)
    folder = directory if directory.is_dir() else directory.parent
    with held(folder) if directory.exists() else nullcontext():
        result = read_result(directory)
        if "text" in names:
            click.echo(terminal_summary(result))
        written = write_reports(result, folder, names)
    for path in written.values():
        click.echo(str(path))
    if show and "html" in written and click.launch(str(written["html"])):
        click.echo("no browser could be started: open the page yourself", err=True)
    sys.exit(EXIT_CODES[result.verdict])


def finish(result: ComparisonResult, out: Path, as_json: bool) -> None:
    """Writes the reports, prints the verdict, exits with it."""
    from mmparity.report import PAGES, write_reports

    shown(result, write_reports(result, out, PAGES)["html"], as_json)
    sys.exit(EXIT_CODES[result.verdict])


def shown(result: ComparisonResult, page: Path, as_json: bool = False) -> None:
    """Prints the verdict, and where its page is."""
    from mmparity.compare.result import to_json
    from mmparity.report import terminal_summary

    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        click.echo(terminal_summary(result))
        click.echo(f"Report: {page}")
