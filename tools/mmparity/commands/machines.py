# SPDX-License-Identifier: Apache-2.0
"""``mmparity machines``. Parses, calls, prints."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

EPILOG = """\b
Examples, on the head node after `ray start` on all:
  mmparity machines --nodes 2
  mmparity machines --nodes 2 --model models/Qwen2.5-VL-72B-Instruct --tp 8 --pp 2

Exit codes: 0 nothing found, 1 problems, 2 no ray or no cluster."""


@click.command("machines", epilog=EPILOG)
@click.option(
    "--address", default="auto", show_default=True, help="Of the cluster's head."
)
@click.option(
    "--nodes",
    "expected",
    type=click.IntRange(min=1),
    default=1,
    help="So many must be in the cluster. Default: 1.",
)
@click.option("--model", default="", help="Checkpoint's folder, the same on all nodes.")
@click.option(
    "--path", "paths", multiple=True, help="Another folder that all need; repeat."
)
@click.option(
    "--tp",
    type=click.IntRange(min=1),
    default=1,
    help="Tensor-parallel ranks. Default: 1.",
)
@click.option(
    "--pp",
    type=click.IntRange(min=1),
    default=1,
    help="Pipeline-parallel stages. Default: 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the nodes answered.")
def machines(
    address: str,
    expected: int,
    model: str,
    paths: tuple[str, ...],
    tp: int,
    pp: int,
    as_json: bool,
) -> None:
    """Check that the nodes of a Ray cluster can serve one model together.

    Versions, folders at the same paths, network interfaces, devices, and whether the
    model's heads divide: what an engine over several nodes fails on late.
    """
    from mmparity.engine.online.machines import ask, problems, read_heads

    heads = read_heads(model) if model else {}
    folders = [str(Path(path).resolve()) for path in (*paths, *filter(None, [model]))]
    nodes = ask(address, folders)
    found = problems(nodes, expected, tp, pp, heads)
    if as_json:
        data = {"nodes": [asdict(node) for node in nodes], "problems": found}
        click.echo(json.dumps(data, indent=1))
        sys.exit(1 if found else 0)
    for node in nodes:
        devices = ", ".join(f"{n} {name}" for name, n in node.devices.items())
        vllm = node.packages.get("vllm", "?")
        click.echo(f"{node.name}: {devices or 'no device'}, vllm {vllm}")
    for problem in found:
        click.echo(f"PROBLEM  {problem}")
    if not found and model:
        click.echo(
            f"Now: vllm serve {folders[-1]} --distributed-executor-backend ray "
            f"--tensor-parallel-size {tp} --pipeline-parallel-size {pp}"
        )
    sys.exit(1 if found else 0)
