# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.paths``. Parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmparity.locks import held

if TYPE_CHECKING:
    from harness_checks.paths.reasons import Finding

ROOT = Path(__file__).resolve().parents[3]


@click.command(
    epilog="Exit codes: 0 every line is executed or has a reason, 1 one has not, or "
    "a reason does not hold, 2 could not run."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=ROOT / "build" / "paths",
    help="Folder of traces and logs. Default: build/paths.",
)
@click.option("--reasons", is_flag=True, help="Also print each line with its reason.")
def paths(out: Path, reasons: bool) -> None:
    """Say which lines of the encoders no default case executes.

    Lines of the patched trees that are watched are in reasons.toml, beside why some
    of them need not be executed.
    """
    from harness_checks.paths.measure import NEW, paths_of, run_default_cases
    from harness_checks.paths.reasons import findings, read
    from mmparity.workload.implementations import IMPLEMENTATIONS
    from mmparity.workload.trees import find_trees

    watched = read()
    trees = find_trees(NEW, (), IMPLEMENTATIONS)["unified-ascend"]
    with held(out):
        covered = run_default_cases([item.file for item in watched], out.resolve())
    found: list[Finding] = []
    for item in watched:
        (path,) = paths_of([item.file], trees)
        _, statements, _, missing, _ = covered.analysis2(str(path))
        found += findings(item, path.read_text(), statements, missing)
        click.echo(f"{item.file}: {len(item.reasons)} reasons")
        for reason in item.reasons if reasons else ():
            click.echo(f"  {reason.about}: {reason.why}")
    for finding in found:
        lines = ", ".join(map(str, finding.lines))
        click.echo(f"{finding.file}:{lines}: {finding.text}")
    click.echo(f"{len(found)} findings in {len(watched)} files")
    sys.exit(1 if found else 0)
