# SPDX-License-Identifier: Apache-2.0
"""Compares two endpoints, with progress on standard error."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from mmparity.engine.online.endpoint import Endpoint
from mmparity.engine.online.measure import compare_endpoints
from mmparity.engine.online.types import Answer, Comparison, Question, Settings

EVERY_SECONDS = 5.0


class AnswerProgress:
    """A bar for each side on a terminal, a line now and then elsewhere."""

    def __init__(self, requests: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._requests = requests
        self._bars = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = {
            name: self._bars.add_task(name, total=requests) for name in ("old", "new")
        }
        self._counts: Counter[str] = Counter()
        self._started = self._said = time.monotonic()

    def __enter__(self) -> AnswerProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, side: str, answer: Answer) -> None:
        """One more answer of a side."""
        self._counts[side] += 1
        self._bars.advance(self._tasks[side])
        if answer.error:
            self._line(f"{side}: {answer.error}")
        now = time.monotonic()
        done = all(self._counts[name] == self._requests for name in self._tasks)
        if done or now - self._said > EVERY_SECONDS:
            self._said = now
            self._line(
                ", ".join(
                    f"{name} {self._counts[name]} of {self._requests}"
                    for name in self._tasks
                )
            )

    def _line(self, text: str) -> None:
        spent = int(time.monotonic() - self._started)
        stamp = f"{spent // 60:02}:{spent % 60:02}"
        self._console.print(f"{stamp}  {text}", markup=False, soft_wrap=True)


def compare(
    urls: tuple[str, str],
    asked: Sequence[Question],
    settings: Settings,
    models: tuple[str, str] = ("", ""),
) -> Comparison:
    """Both endpoints' answers to all questions, compared."""

    async def run() -> Comparison:
        async with (
            Endpoint(urls[0], settings, models[0]) as old,
            Endpoint(urls[1], settings, models[1]) as new,
        ):
            with AnswerProgress(len(asked)) as watcher:
                return await compare_endpoints(old, new, asked, settings, watcher)

    return asyncio.run(run())
