# SPDX-License-Identifier: Apache-2.0
"""Asks both endpoints every question, in rounds that take turns.

A machine that grows slower in the meantime, or serves both, then hits both sides
alike, and what an interrupted run measured can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from mmparity.engine.online.endpoint import Endpoint
from mmparity.engine.online.judge import judge
from mmparity.engine.online.types import (
    DETAILS,
    Answer,
    Comparison,
    Detail,
    Judged,
    Measured,
    Question,
    Settings,
)

ROUND = 4
"""Requests of a round, as a multiple of those in flight."""
Watch = Callable[[str, Answer], None]


class _Side:
    """An endpoint and what was measured of it."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name, self.endpoint = name, endpoint
        self.answers: dict[int, Answer] = {}
        self.seconds = 0.0

    async def round(
        self, asked: Sequence[Question], concurrency: int, watch: Watch
    ) -> None:
        """Asks all of them; when cancelled, keeps what was answered."""
        waiting = iter(asked)

        async def work() -> None:
            for question in waiting:
                answer = await self.endpoint.ask(question)
                self.answers[question.number] = answer
                watch(self.name, answer)

        started = time.perf_counter()
        try:
            await asyncio.gather(*(work() for _ in range(concurrency)))
        finally:
            self.seconds += time.perf_counter() - started

    def measured(self) -> Measured:
        end = self.endpoint
        return Measured(
            end.url, end.model, end.detail, end.limit, self.answers, self.seconds
        )


async def compare_endpoints(
    old: Endpoint,
    new: Endpoint,
    asked: Sequence[Question],
    settings: Settings,
    watch: Watch,
) -> Comparison:
    """Both endpoints' answers, compared; SIGINT and SIGTERM end it early.

    Raises:
        MmparityError: an endpoint cannot be asked at all.
    """
    await asyncio.gather(old.prepare(asked[0]), new.prepare(asked[0]))
    detail = max(old.detail, new.detail, key=DETAILS.index)
    old.detail = new.detail = detail
    for endpoint in (old, new):
        await endpoint.warm_up(asked[0], settings.concurrency)
    sides = (_Side("old", old), _Side("new", new))
    task = asyncio.ensure_future(_rounds(sides, asked, settings.concurrency, watch))
    with _signals_cancel(task):
        interrupted = False
        try:
            await task
        except asyncio.CancelledError:
            interrupted = True
    one, two = (side.measured() for side in sides)
    judged = judge_all(asked, one, two, settings, detail)
    return Comparison(settings, detail, one, two, judged, interrupted)


def judge_all(
    asked: Sequence[Question],
    old: Measured,
    new: Measured,
    settings: Settings,
    detail: Detail,
) -> tuple[Judged, ...]:
    """Every question that both have an answer to."""
    return tuple(
        judge(question, old.answers[number], new.answers[number], settings, detail)
        for number, question in ((one.number, one) for one in asked)
        if number in old.answers and number in new.answers
    )


async def _rounds(
    sides: Sequence[_Side], asked: Sequence[Question], concurrency: int, watch: Watch
) -> None:
    number = math.ceil(len(asked) / (ROUND * concurrency))
    size = math.ceil(len(asked) / number)
    for place, start in enumerate(range(0, len(asked), size)):
        for side in sides if place % 2 == 0 else reversed(sides):
            await side.round(asked[start : start + size], concurrency, watch)


@contextlib.contextmanager
def _signals_cancel(task: asyncio.Future[None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number, handler in before.items():  # asyncio leaves the system's default
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
