# SPDX-License-Identifier: Apache-2.0
"""``mmparity demo``. Parses and calls."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  mmparity demo --old http://127.0.0.1:8000 --new http://127.0.0.1:8001
  mmparity demo --old http://npu:8000 --new http://gpu:8000 --port 7861

Exit codes: 0 done, 2 could not run. Needs gradio: make setup EXTRA=demo."""


@click.command("demo", epilog=EPILOG)
@click.option("--old", required=True, help="URL of an OpenAI-compatible endpoint.")
@click.option("--new", required=True, help="URL of the other.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=64, show_default=True)
def demo(old: str, new: str, port: int, max_tokens: int) -> None:
    """Open a page on loopback that asks both endpoints the same question.

    Answers, logprob differences and times stand side by side.
    """
    from mmparity.engine.online.demo import serve
    from mmparity.engine.online.types import Settings

    serve((old, new), port, Settings(max_tokens=max_tokens))
