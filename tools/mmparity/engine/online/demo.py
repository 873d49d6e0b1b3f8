# SPDX-License-Identifier: Apache-2.0
"""`mmparity demo`: a page where one image and one question go to both endpoints."""

from __future__ import annotations

import asyncio
import os
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmparity.engine.online import report
from mmparity.engine.online.endpoint import Endpoint
from mmparity.engine.online.judge import judge
from mmparity.engine.online.questions import data_uri
from mmparity.engine.online.types import (
    DETAILS,
    Answer,
    Judged,
    Question,
    Settings,
    Token,
)
from mmparity.errors import MmparityError
from mmparity.extras import import_extra

HOST = "127.0.0.1"
WORDS = {
    "same": "THE SAME",
    "near tie": "A NEAR TIE",
    "differ": "DIFFERENT",
    "error": "COULD NOT BE COMPARED",
}
COLUMNS = ("", "old", "logprob", "new", "logprob", "difference")
Page = tuple[str, str, str, list[list[str]]]


async def ask_both(
    urls: tuple[str, str], image: Path, prompt: str, settings: Settings
) -> Judged:
    """Both answers to one question, compared.

    Raises:
        MmparityError: an endpoint cannot be asked.
    """
    question = Question(0, image.name, prompt, data_uri(image))
    async with Endpoint(urls[0], settings) as old, Endpoint(urls[1], settings) as new:
        await asyncio.gather(old.prepare(question), new.prepare(question))
        old.detail = new.detail = max(old.detail, new.detail, key=DETAILS.index)
        if old.detail == "token ids":  # a reader wants the texts
            old.detail = new.detail = "token texts"
        # One after the other: neither may slow the other down.
        first, second = await old.ask(question), await new.ask(question)
        return judge(question, first, second, settings, old.detail)


def page(judged: Judged) -> Page:
    """Verdict, both answers, and a row for each token."""
    reason = f": {judged.reason}" if judged.reason else ""
    largest = judged.largest_logprob_difference
    logprobs = "no logprobs are offered" if largest is None else (
        f"largest logprob difference {largest:.3g}"
    )  # fmt: skip
    verdict = f"## {WORDS[judged.verdict]}{report.cell(reason)}\n\n{logprobs}"
    rows = []
    tokens = zip_longest(judged.old.tokens, judged.new.tokens)
    for number, (one, two) in enumerate(tokens):
        same = one is not None and two is not None and one.name == two.name
        difference = f"{abs(one.logprob - two.logprob):.3g}" if same else "other token"
        rows.append([str(number), *_token(one), *_token(two), difference])
    return verdict, _answer(judged.old), _answer(judged.new), rows


def build(urls: tuple[str, str], settings: Settings) -> Any:
    """The page; not launched."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = import_extra("demo", "gradio")

    async def compare(image: str | None, prompt: str) -> Page:
        if not image or not prompt.strip():
            raise gradio.Error("Give an image and a question.")
        try:
            return page(await ask_both(urls, Path(image), prompt, settings))
        except MmparityError as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="Two endpoints, one question") as blocks:
        gradio.Markdown("# Two endpoints, one question")
        with gradio.Row():
            image = gradio.Image(type="filepath", label="Image", height=240)
            with gradio.Column():
                prompt = gradio.Textbox(label="Question", lines=3)
                button = gradio.Button("Ask both", variant="primary")
        verdict = gradio.Markdown()
        with gradio.Row():
            old = gradio.Textbox(label=f"old: {urls[0]}", lines=6)
            new = gradio.Textbox(label=f"new: {urls[1]}", lines=6)
        tokens = gradio.Dataframe(headers=list(COLUMNS), label="Tokens")
        button.click(compare, [image, prompt], [verdict, old, new, tokens])
    return blocks


def serve(urls: tuple[str, str], port: int, settings: Settings) -> None:
    """Serves the page on loopback until it is interrupted."""
    blocks = build(urls, settings)
    gradio = import_extra("demo", "gradio")
    # Fonts by name: the default ones are fetched from elsewhere.
    theme = gradio.themes.Default(font=["system-ui"], font_mono=["monospace"])
    blocks.launch(server_name=HOST, server_port=port, share=False, theme=theme)


def _answer(answer: Answer) -> str:
    if answer.error:
        return f"[{answer.error}]"
    first = answer.first_seconds
    times = "" if first is None else f"first token {first * 1000:.0f} ms, "
    return (
        f"{answer.text}\n\n[{times}all {answer.seconds * 1000:.0f} ms; "
        f"{answer.completion_tokens} tokens, {answer.finish}]"
    )


def _token(token: Token | None) -> tuple[str, str]:
    return ("", "") if token is None else (token.name, f"{token.logprob:.4f}")
