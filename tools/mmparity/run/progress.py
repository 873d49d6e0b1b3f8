# SPDX-License-Identifier: Apache-2.0
"""How far a run is, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmparity.capture.job import Event
from mmparity.run.noise import measures
from mmparity.run.plan import Plan
from mmparity.types.comparison import CaseComparison


class ProgressDisplay:
    """A Watcher of run.execute; a context manager."""

    def __init__(
        self,
        steps: int,
        console: Console | None = None,
        told: Sequence[str] = (),
    ) -> None:
        """``told`` is what there is to know before the first step ends."""
        self._steps, self._done, self._told = steps, 0, told
        self._console = console or Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=steps)
        self._started = time.monotonic()
        self._said: set[str] = set()
        self._loading: set[str] = set()

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        for text in self._told:
            self._line(text)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def event(self, implementation: str, event: Event) -> None:
        """One line per finished step of a worker."""
        what = " ".join(filter(None, (event.case, event.dtype)))
        self._bar.update(
            self._task, description=f"{implementation} {what or event.event}"
        )
        if event.event == "loading" and implementation not in self._loading:
            self._loading.add(implementation)
            self._line(f"{implementation.rstrip(':')}: loading packages and weights")
        if event.event == "loaded":
            self._line(f"{implementation}: loaded{_seconds(event.seconds)}")
        if event.event == "captured":
            self._step(f"{implementation}: {what} captured{_seconds(event.seconds)}")
        if event.event == "raised":
            self._step(f"{implementation}: {what}: {event.message}")
        if event.event == "kept":
            self._step(f"{implementation}: {what} kept, captured before")
        if event.event == "reused":
            self._step(f"{implementation}: {what} reused, captured {event.message}")
        if event.event == "noted":
            self._line(f"{implementation.rstrip(':')}: {event.message}")

    def compared(self, case: CaseComparison, seconds: float) -> None:
        """One line per judged case."""
        known = case.verdict == "error" and case.reason in self._said
        reason = f": {case.reason}" if case.reason and not known else ""
        self._bar.update(self._task, description=f"comparing {case.id}")
        self._step(f"{case.verdict.upper():5} {case.id}{_seconds(seconds)}{reason}")

    def failed(self, message: str) -> None:
        """Something could not run."""
        self._said.add(message.splitlines()[0])
        self._console.print(message, style="red", markup=False, soft_wrap=True)

    def _step(self, text: str) -> None:
        """A line of a step that is done, and how many are left."""
        self._done += 1
        left = max(self._steps - self._done, 0)
        self._line(f"{text} ({left} {'step' if left == 1 else 'steps'} left)")
        self._bar.advance(self._task)

    def _line(self, text: str) -> None:
        spent = int(time.monotonic() - self._started)
        stamp = f"{spent // 60:02}:{spent % 60:02}"
        self._console.print(f"{stamp}  {text}", markup=False, soft_wrap=True)


def plan_lines(plans: Sequence[Plan]) -> list[str]:
    """What will be done, in words: pairs, cases, dtypes, steps; and the first step."""
    lines = []
    for plan in plans:
        pairs = ", ".join(f"{old} : {new}" for old, new in plan.pairs)
        cases = ", ".join(plan.case_name(case) for case in plan.cases)
        blocks = f"{plan.depth} blocks" if plan.depth else "all blocks"
        lines.append(f"plan: {pairs}")
        lines.append(f"      {cases}; {', '.join(plan.dtypes)}; {blocks}")
        lines += [f"left out: {text}" for text in plan.left_out]
    steps = steps_of(plans)
    return [*lines, f"{steps} steps; first, weights and pixels are made ready"]


def steps_of(plans: Sequence[Plan]) -> int:
    """Captures and comparisons of plans."""
    steps = 0
    for plan in plans:
        names = {name for pair in plan.pairs for name in pair}
        made = names.union(plan.oracle)
        captures = sum(len(plan.dtypes_of(name)) for name in made)
        steps += sum(measures(plan, name) for name in names) * len(plan.dtypes)
        steps += len(plan.cases) * (captures + len(plan.pairs) * len(plan.dtypes))
    return steps


def _seconds(value: float | None) -> str:
    return "" if value is None else f" in {value:.1f} s"
