# SPDX-License-Identifier: Apache-2.0
"""``mmparity serve-compare``. Parses, calls, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

EXIT_CODES = {"pass": 0, "fail": 1, "error": 2}
EPILOG = """\b
Examples:
  mmparity serve-compare --old http://127.0.0.1:8000 --new http://127.0.0.1:8001 \\
    --images photos --prompts prompts.txt
  mmparity serve-compare --old http://npu:8000 --new http://gpu:8000 \\
    --images photos --prompts prompts.txt --requests 200 --concurrency 16 --no-stream

Exit codes: 0 the same, 1 answers differ, 2 could not run or not all was compared.
OPENAI_API_KEY is sent to both endpoints where it is set."""


@click.command("serve-compare", epilog=EPILOG)
@click.option("--old", required=True, help="URL of an OpenAI-compatible endpoint.")
@click.option("--new", required=True, help="URL of the one that is judged.")
@click.option("--old-model", default="", help="Default: the first that it serves.")
@click.option("--new-model", default="", help="Default: the first that it serves.")
@click.option("--images", type=click.Path(path_type=Path), required=True)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    required=True,
    help="One prompt on each line; each image is asked about with each.",
)
@click.option("--requests", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--stream/--no-stream", default=True, show_default=True)
@click.option(
    "--top-logprobs", type=click.IntRange(1, 20), default=20, show_default=True
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--system", default="You are a helpful assistant.", show_default=True)
@click.option("--retries", type=click.IntRange(min=0), default=2, show_default=True)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True
)
@click.option(
    "--near-tie",
    type=click.FloatRange(min=0),
    default=0.125,
    show_default=True,
    help="Logprob gap at which either token may win: a bfloat16 step of logits from "
    "16 to 32.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.25,
    show_default=True,
    help="Allowed difference of a token's logprob.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/serving"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print serving.json.")
def serve_compare(
    old: str,
    new: str,
    old_model: str,
    new_model: str,
    images: Path,
    prompts: Path,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask two running endpoints the same, and compare answers and speed.

    Answers are compared by tokens and logprobs, or by greedy text alone where an
    endpoint offers no logprobs. Ctrl-C keeps what was measured.
    """
    from rich.console import Console

    from mmparity.serving import report, result
    from mmparity.serving.client import compare
    from mmparity.serving.questions import questions
    from mmparity.serving.types import Settings

    settings = Settings(**given)
    asked = questions(images, prompts, settings.requests)
    data = result.as_data(
        compare((old, new), asked, settings, models=(old_model, new_model))
    )
    path = result.write(data, out)
    page = report.write(data, out)
    if as_json:
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        report.terminal(data, Console(highlight=False))
        click.echo(f"Written: {path}, {page}")
    sys.exit(EXIT_CODES[data["verdict"]])
