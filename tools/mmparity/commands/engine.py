# SPDX-License-Identifier: Apache-2.0
"""`mmparity engine`: arguments, printing and exit codes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from mmparity.commands.options import DEFAULT_OUT, TREE
from mmparity.engine.offline.checkpoints import SERVED
from mmparity.engine.offline.scenarios import SCENARIOS
from mmparity.engine.offline.sides import SIDES
from mmparity.errors import MmparityError
from mmparity.locks import held
from mmparity.types.verdict import EXIT_CODES

EPILOG = """Examples:

\b
  mmparity engine
  mmparity engine --side vllm-0.12.0 --side unified --model qwen3-vl --requests 0
  mmparity engine --scenario "one image" --tree unified:vllm=../my-vllm

Exit codes: 0 the same, 1 differences, 2 bad input or could not run."""


@click.command(epilog=EPILOG)
@click.option(
    "--side",
    "sides",
    multiple=True,
    help="Whose engine is run, two at least: "
    f"{', '.join(SIDES)}. Repeat for more. Default: all.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help=f"Which is served: {', '.join(SERVED)}. Repeat for more. Default: all.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    help=f"What is asked: {', '.join(SCENARIOS)}. Repeat for more. Default: all.",
)
@click.option(
    "--requests",
    type=click.IntRange(min=0),
    default=2000,
    help="Over which memory is measured, 0 for none. Default: 2000.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=500,
    help="That the encoder cache is filled with before. Default: 500.",
)
@click.option(
    "--serve",
    "served",
    type=click.IntRange(min=0),
    default=0,
    help="Requests to `vllm serve` of vllm-0.12.0 and unified, too. Default: 0, none.",
)
@click.option("--tree", "trees", **TREE)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder of the result.",
)
@click.option("--json", "as_json", is_flag=True, help="Print engine.json.")
def engine(as_json: bool, served: int, **given: Any) -> None:
    """Compare vLLM's real engine, old and new, on this machine's CPU.

    Small seeded Qwen-VL models are served by each side: tokens, logprobs and
    embeddings are compared, and memory is measured. OUT gets engine.json; where a
    comparison.json is in OUT already, its reports show both.
    """
    from mmparity.engine.offline.result import to_json, write_result
    from mmparity.engine.offline.run import EngineOptions, execute
    from mmparity.engine.offline.text import summary
    from mmparity.engine.online.engine_rows import with_serving, without_serving
    from mmparity.engine.online.serve import serve_small

    started = time.monotonic()

    def say(text: str) -> None:
        spent = int(time.monotonic() - started)
        click.echo(f"{spent // 60:02}:{spent % 60:02}  {text}", err=True)

    options = EngineOptions(**given)
    with held(options.out):
        result = execute(options, say)
        if served:
            try:
                found = serve_small(options.out / "serve", served, say)
            except MmparityError as error:  # what was measured is kept
                result = without_serving(result, f"vllm serve: {error}")
            else:
                result = with_serving(result, found)
        files = [write_result(result, options.out), *attach(options.out)]
    click.echo(to_json(result) if as_json else summary(result), nl=False)
    if not as_json:
        click.echo("\n".join(f"Written: {file}" for file in files))
    sys.exit(EXIT_CODES[result.verdict])


def attach(out: Path) -> list[Path]:
    """The engine's result into a comparison that is there, and into its reports."""
    from mmparity.compare import result as comparisons
    from mmparity.report import write_reports

    if not (out / comparisons.FILE_NAME).is_file():
        return []
    result = comparisons.with_engine(comparisons.read_result(out), out)
    comparisons.write_result(result, out)
    return list(write_reports(result, out, ["html", "markdown", "junit"]).values())
