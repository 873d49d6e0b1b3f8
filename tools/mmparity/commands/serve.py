# SPDX-License-Identifier: Apache-2.0
"""``mmparity serve``, ``serve-compare`` and ``accuracy``. Parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mmparity.locks import held
from mmparity.stored_json import to_json
from mmparity.types.verdict import EXIT_CODES

EPILOG = """\b
Examples:
  mmparity serve-compare --old http://127.0.0.1:8000 --new http://127.0.0.1:8001 \\
    --images photos --prompts prompts.txt
  mmparity serve-compare --old http://npu:8000 --new http://gpu:8000 \\
    --images photos --prompts prompts.txt --requests 200 --concurrency 16 --no-stream

Exit codes: 0 the same, 1 answers differ, 2 could not run or not all was compared.
OPENAI_API_KEY is sent to both endpoints where it is set."""


SERVE_EPILOG = """\b
Examples:
  mmparity serve                     the project's small model, on this CPU
  mmparity serve --model Qwen/Qwen3-VL-8B-Instruct \\
    --old envs/old/bin/python --new envs/new/bin/python -- --max-model-len 16384

Exit codes: 0 the same, 1 answers differ, 2 could not run or not all was compared.
What follows -- is given to `vllm serve` of both sides."""


@click.command("serve", epilog=SERVE_EPILOG)
@click.option("--old", default="vllm-0.12.0", show_default=True, help="Like --new.")
@click.option(
    "--new",
    default="unified",
    show_default=True,
    help="A side that runs on a CPU, or the python of an environment with vLLM.",
)
@click.option("--model", default="", help="Checkpoint. Default: a small seeded one.")
@click.option("--requests", type=click.IntRange(min=1), default=200, show_default=True)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=16, show_default=True
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--bench/--no-bench",
    default=True,
    show_default=True,
    help="Also `vllm bench serve` of each side.",
)
@click.option(
    "--start-seconds",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    help="Given to the servers to start.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/serve"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print serve.json.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(
    requests: int, concurrency: int, max_tokens: int, as_json: bool, **given: Any
) -> None:
    """Start `vllm serve` of two sides on loopback, and compare them under load.

    Photographs and prompts, the request of vllm-ascend's tutorial first, go to both,
    streamed and not; then `vllm bench serve` measures each.
    """
    from rich.console import Console

    from mmparity.engine.online.serve import FILE, PAGE, ServeOptions, as_data, terminal
    from mmparity.engine.online.serve import serve as run
    from mmparity.engine.online.types import Settings

    options = ServeOptions(**given)
    settings = Settings(requests, concurrency, max_tokens=max_tokens)
    errors = Console(stderr=True, highlight=False)
    with held(options.out):
        found = run(options, settings, lambda text: errors.print(text, markup=False))
    if as_json:
        click.echo(to_json(as_data(found)), nl=False)
    else:
        terminal(found, Console(highlight=False))
        click.echo(f"Written: {options.out / FILE}, {options.out / PAGE}")
    sys.exit(EXIT_CODES[found.verdict])


ACCURACY_EPILOG = """\b
Examples:
  mmparity accuracy                  the project's small model and task, on this CPU
  mmparity accuracy --model Qwen/Qwen3-VL-8B-Instruct --new envs/new/bin/python \\
    --arguments max_model_len=8192,gpu_memory_utilization=0.7
  mmparity accuracy --model Qwen/Qwen2.5-VL-32B-Instruct --old envs/old/bin/python \\
    --new envs/new/bin/python --arguments max_model_len=8192,tensor_parallel_size=2

Exit codes: 0 within what chance explains, 1 outside, 2 could not run."""


@click.command("accuracy", epilog=ACCURACY_EPILOG)
@click.option(
    "--old",
    default="",
    help="Like --new. Default: none; vllm-0.12.0 where --new is not given and this "
    "environment has no vLLM.",
)
@click.option(
    "--new",
    default="",
    help="The python of an environment with vLLM and lm_eval, or a side that runs on "
    "a CPU. Default: this one where it has vLLM, else unified.",
)
@click.option("--model", default="", help="Checkpoint. Default: a small seeded one.")
@click.option(
    "--task",
    default="",
    help="Of lm_eval. Default: mmmu_val; the project's own for the small model.",
)
@click.option("--arguments", default="", help="vLLM's, as lm_eval's --model_args.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=0, help="Questions; 0: all."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/accuracy"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print accuracy.json.")
def accuracy(old: str, new: str, as_json: bool, **given: Any) -> None:
    """Run lm_eval on two sides, and compare with each other and the published.

    An accuracy is the same within two standard errors of the difference. Equal
    answers are counted beside it.
    """
    from mmparity.engine.online.accuracy import (
        FILE,
        PAGE,
        AccuracyOptions,
        markdown,
        measure,
    )
    from mmparity.engine.online.runners import installed

    if not (old or new or installed()):
        old = "vllm-0.12.0"
    options = AccuracyOptions(old, new or installed() or "unified", **given)
    with held(options.out):
        found = measure(options, lambda text: click.echo(text, err=True))
    click.echo(to_json(found).rstrip() if as_json else markdown(found))
    click.echo(f"Written: {options.out / FILE}, {options.out / PAGE}", err=True)
    sys.exit(EXIT_CODES[found.verdict])


@click.command("serve-compare", epilog=EPILOG)
@click.option("--old", required=True, help="URL of an OpenAI-compatible endpoint.")
@click.option("--new", required=True, help="URL of the one that is judged.")
@click.option("--old-model", default="", help="Default: the first that it serves.")
@click.option("--new-model", default="", help="Default: the first that it serves.")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the pictures.",
)
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

    from mmparity.engine.online import report, result
    from mmparity.engine.online.client import compare
    from mmparity.engine.online.questions import questions
    from mmparity.engine.online.types import Settings

    settings = Settings(**given)
    asked = questions(images, prompts, settings.requests)
    with held(out):
        models = (old_model, new_model)
        found = result.build(compare((old, new), asked, settings, models))
        path = result.write(found, out)
        page = report.write(found, out)
    if as_json:
        click.echo(to_json(result.as_data(found)), nl=False)
    else:
        report.terminal(found, Console(highlight=False))
        click.echo(f"Written: {path}, {page}")
    sys.exit(EXIT_CODES[found.verdict])
