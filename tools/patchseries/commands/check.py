# SPDX-License-Identifier: Apache-2.0
"""`patchseries check`: the findings, or none."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from patchseries.commands.options import (
    meant_series,
    progress,
    say,
    series_option,
)
from patchseries.project import Project
from patchseries.proof.check import check as check_one
from patchseries.proof.check import check_patches, check_tables
from patchseries.series.lint import Finding


@click.command()
@series_option
@click.option("--fast", is_flag=True, help="Files, headers and tables only.")
@click.option("--red-green", is_flag=True, help="Run the patches' tests too (slow).")
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=1,
    help="Patches whose tests run at a time  [default: 1].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def check(
    project: Project,
    name: str | None,
    fast: bool,
    red_green: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Prove that the files agree, and that each patch is fit to be sent.

    Results of upstream's gates and of the tests are kept until what they are about
    changes.

    \b
      patchseries check --fast
      patchseries check --series vllm-0.12.0
      patchseries check --red-green --jobs 2
    """
    if fast and red_green:
        raise click.UsageError("--fast runs no test: leave out it or --red-green")
    names = meant_series(project, name)
    findings = [finding for one in names for finding in check_one(project, one)]
    if not any(finding.kind == "missing" for finding in findings):
        findings += check_tables(project)
    broken = [f for f in findings if f.kind in ("missing", "content")]
    if not fast and not [f for f in broken if f.patch != "(commits)"]:
        for one in names:
            findings += check_patches(project, one, red_green, jobs, progress)
    _report(names, findings, as_json)


def _report(names: list[str], findings: list[Finding], as_json: bool) -> None:
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for f in findings:
            say(f"{f.series}/{f.patch}: {f.kind}: {f.detail}")
        say(f"{', '.join(names)}: {len(findings) or 'no'} findings")
    sys.exit(1 if findings else 0)
