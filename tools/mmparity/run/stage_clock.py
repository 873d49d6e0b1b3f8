# SPDX-License-Identifier: Apache-2.0
"""Divides the time of a run among its stages, and that of its workers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from mmparity.capture.job import Event
from mmparity.run.plan import ORACLE
from mmparity.types.stages import STAGES, Stages, WorkerSeconds


class StageClock:
    """Every second since it was made belongs to one stage.

    ``now`` is the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._last = now, now()
        self._spent: dict[str, float] = defaultdict(float)
        self._workers: dict[str, dict[str, float]] = {}
        self._said: dict[str, float | None] = {}

    def lap(self, stage: str) -> None:
        """What passed since the lap before was this stage."""
        assert stage in STAGES, stage
        now = self._now()
        self._spent[stage] += now - self._last
        self._last = now

    def waited(self, implementation: str, stage: str) -> None:
        """A lap for a worker; for the oracle's, whatever it did, it is ``oracle``."""
        self.lap("oracle" if implementation == ORACLE else stage)

    def answered(self, implementation: str, event: Event) -> None:
        """A lap for a worker that has said something itself."""
        if event.event != "noted":
            self.waited(implementation, stage_of(event))

    def noted(self, implementation: str, event: Event) -> None:
        """Counts what a worker did by its own clock."""
        if event.event == "noted":  # by the parent: no step of the worker has ended
            return
        spent = self._workers.setdefault(implementation, defaultdict(float))
        before, self._said[implementation] = self._said.get(implementation), event.at
        if event.event == "imported":
            spent["import"] += event.seconds or 0.0
        elif event.event == "loading" and event.dtype is None:
            return  # of another process than the event before
        elif event.at is not None and before is not None:
            spent[stage_of(event)] += event.at - before

    def stages(self) -> Stages:
        """All of it so far, in seconds to the hundredth."""
        return Stages(
            {name: round(self._spent[name], 2) for name in STAGES if self._spent[name]},
            {name: _own(spent) for name, spent in self._workers.items()},
        )


def _own(spent: dict[str, float]) -> WorkerSeconds:
    stages = "import", "build", "capture"
    return WorkerSeconds(*(round(spent[stage], 3) for stage in stages))


def stage_of(event: Event) -> str:
    """What a worker did until it said this."""
    if event.event == "imported" or (event.event == "loading" and not event.dtype):
        return "import"
    if event.event in ("loading", "loaded", "capturing"):
        return "build"
    return "capture"
