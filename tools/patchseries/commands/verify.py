# SPDX-License-Identifier: Apache-2.0
"""`patchseries verify`: does the vLLM that a Python imports carry the series."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from patchseries.apply.verify import Verified, verify
from patchseries.commands.options import say, series_option
from patchseries.project import Project


@click.command("verify")
@click.argument("python", type=click.Path(path_type=Path))
@series_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def verify_python(
    project: Project, python: Path, name: str | None, as_json: bool
) -> None:
    """Say which patches the packages that PYTHON imports carry, whole or in part.

    PYTHON is asked in a process of its own and in a worker that it spawns. Exit
    status: 0 all of them, 1 not or in part, 2 it could not be looked at.

    \b
      PYTHONPATH=vllm_src/patched/vllm-0.12.0 patchseries verify .venv/bin/python
    """
    found = verify(project, python, name)
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=1, default=str))
    else:
        for one in found:
            for line in _lines(one):
                say(line)
    sys.exit(0 if all(one.whole for one in found) else 1)


def _lines(one: Verified) -> list[str]:
    width = max(len(patch.slug) for patch in one.patches)
    lines = [f"{one.series} in {one.folder}:"]
    for patch in one.patches:
        line = f"  {patch.slug:{width}}  {patch.share:9}  {patch.detail}"
        lines.append(line.rstrip())
    count = sum(patch.share == "whole" for patch in one.patches)
    return [*lines, f"  {count} of {len(one.patches)} patches are there whole"]
