# SPDX-License-Identifier: Apache-2.0
"""`mmparity compare`: traces that are there already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mmparity.commands.options import DEFAULT_OUT, EPILOG
from mmparity.commands.report import finish
from mmparity.locks import held


@click.command(epilog=EPILOG)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--oracle", type=click.Path(path_type=Path), help="float64 traces.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUT,
    help=f"Result and reports. Default: {DEFAULT_OUT}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json.")
@click.option("--old-impl", help="Implementation that OLD is a dump of.")
@click.option("--new-impl", help="Implementation that NEW is a dump of.")
@click.option("--model", help="Of a dump. Default: qwen2.5-vl-7b.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Of a dump: the weights, which its parameters are compared with.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="Of a dump: OUT/inputs/CASE.safetensors with its pixels.",
)
@click.option("--case", help="Of a dump: the case it is. Default: the other side's.")
@click.option(
    "--forward",
    type=click.IntRange(min=0),
    default=0,
    help="Of a dump: which of its forwards, from 0. Default: 0.",
)
@click.option(
    "--assume-same",
    is_flag=True,
    help="Vouch for weights and pixels that cannot be shown to be the same.",
)
def compare(
    old: Path, new: Path, oracle: Path | None, out: Path, as_json: bool, **given: Any
) -> None:
    """Compare traces that `capture` or `run --keep-traces` made.

    OLD and NEW may also be dumps of msprobe, of SGLang's dumper or of
    transformers' model-addition debugger (docs/dumps.md):

    \b
      mmparity compare OLD_DUMP build/here --old-impl ascend-0.11.0
    """
    from mmparity.compare.statistics import compare_statistics, holds_statistics
    from mmparity.run.folders import DumpOptions, compare_folders

    with held(out):
        if holds_statistics(old) or holds_statistics(new):
            sys.exit(compare_statistics(old, new, oracle, out, as_json))
        result = compare_folders(old, new, oracle, out, DumpOptions(**given))
        for case in result.cases:
            if case.description:
                click.echo(f"{case.name}: {case.description}", err=True)
        finish(result, out, as_json)
