# SPDX-License-Identifier: Apache-2.0
"""`patchseries test-upstream`: upstream's tests on both trees."""

from __future__ import annotations

import sys

import click

from patchseries.commands.options import meant_series, progress, say
from patchseries.project import Project
from patchseries.proof.upstream import compare_upstream


@click.command("test-upstream")
@click.pass_obj
def test_upstream(project: Project) -> None:
    """Run upstream's own tests on both trees: they must give the same results.

    \b
      patchseries test-upstream
    """
    bad = 0
    for name in meant_series(project, None):
        for file in compare_upstream(project, name, progress):
            say(f"{file.path}: {file.summary}")
            for test in file.failing:
                say(f"  {test}: fails on both")
            for test, before, after in file.differing:
                say(f"  {test}: {before} before, {after} after")
            bad += bool(file.problem or file.differing)
    sys.exit(1 if bad else 0)
