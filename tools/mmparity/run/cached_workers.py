# SPDX-License-Identifier: Apache-2.0
"""``mmparity run --cache``: what an earlier run captured is taken, the rest is kept.

Only a trace of the same computation is taken: finished.SAME, and the settings below.
One of a tree with changes that are not committed is neither taken nor kept.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blake3 import blake3

from mmparity.capture.finished import first_difference, same_fields, unknowable, why_not
from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.trace_meta import Origins, sources_of
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.run.plan import Options
from mmparity.run.prepare import Subject
from mmparity.run.settings import settings_of
from mmparity.run.trace_cache import Cache, CacheFull, Fields, digest_of
from mmparity.run.workers import Crew, CrewMaker, RunState, Watcher
from mmparity.trace.manifest import MANIFEST
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison
from mmparity.types.evidence import Reuse, ReusedTrace
from mmparity.types.trace import TraceMeta
from mmparity.workload.implementations import ADDED, UNPINNED


class TraceCache:
    """The cache of one run, and what it was used for."""

    def __init__(self, options: Options) -> None:
        assert options.cache is not None
        self.store = Cache(options.cache, int(options.cache_limit * 2**30))
        self.traces: list[ReusedTrace] = []
        self.reasons: Counter[str] = Counter()
        self.captured = 0
        self.full = False
        self._configs: dict[str, str] = {}

    def around(self, make: CrewMaker) -> CrewMaker:
        """Makes crews that take what is there, capture what is left, and keep that."""

        def crew(
            batch: Sequence[Subject],
            number: int,
            starter: Starter,
            adapt: Callable[[Job], Job] = lambda job: job,
        ) -> CachedCrew:
            self.store.reserve = sum(item.trace_bytes for item in batch)
            return CachedCrew(self, lambda left: make(batch, number, starter, left))

        return crew

    def reuse(self) -> Reuse:
        """What the result says of it."""
        reasons = dict(sorted(self.reasons.items()))
        size = self.store.size()
        return Reuse(tuple(self.traces), self.captured, reasons, size)

    def lookup(self, job: Job) -> Lookup:
        """Takes what is there of a job; the rest is left to capture."""
        origins = Origins(job)
        lookup = Lookup(job)
        for item in job.captures:
            meta = origins.of(item)
            reason = _unfit(job, item, meta)
            if reason is None:
                wanted = Wanted(item, meta, self._fields(job, item, meta))
                lookup.wanted.append(wanted)
                reason = self._take(wanted, lookup)
            if reason is not None:
                lookup.left.append(item)
                lookup.reasons[reason] += 1
                short = reason.partition("damaged")[1] or reason
                self.reasons[f"{job.implementation}: {short}"] += 1
        return lookup

    def keep(self, lookup: Lookup, items: Iterable[CaptureJob]) -> None:
        """Keeps those of the captures that are whole, unless it did already.

        Raises CacheFull or OSError where there is no room.
        """
        new = [item for item in items if item not in lookup.kept and _is_made(item)]
        lookup.kept += new
        self.captured += len(new)
        sources = sources_of(lookup.job) if new else {}
        for wanted in lookup.wanted:
            if wanted.item not in new or self.full or sources != wanted.meta.sources:
                continue
            out = Path(wanted.item.out)
            there = TraceReader(out).meta
            other = first_difference(same_fields(there), same_fields(wanted.meta))
            if other is None and not there.raised:
                self.store.put(wanted.fields, out)

    def _take(self, wanted: Wanted, lookup: Lookup) -> str | None:
        """Why a trace could not be taken; None where it was."""
        item, out = wanted.item, Path(wanted.item.out)
        captured = self.store.take(wanted.fields, out)
        if captured is None:
            return self.store.why_missing(wanted.fields)
        reason = why_not(item, wanted.meta)
        digest = digest_of(wanted.fields)
        if reason is not None:
            shutil.rmtree(out, ignore_errors=True)
            self.store.drop(digest)
            return reason
        name = lookup.job.implementation
        trace = ReusedTrace(name, item.case, item.dtype, digest, captured)
        lookup.taken.append(trace)
        self.traces.append(trace)
        return None

    def _fields(self, job: Job, item: CaptureJob, meta: TraceMeta) -> Fields:
        path = item.checkpoint_in(job)
        if path not in self._configs:
            self._configs[path] = _configuration(Path(path))
        settings = {"configuration": self._configs[path], **vars(settings_of(job))}
        return {**same_fields(meta), **settings, "kernels": item.kernels}


@dataclass(frozen=True)
class Wanted:
    """A capture, what it would say of itself, and the fields of its digest."""

    item: CaptureJob
    meta: TraceMeta
    fields: Fields


@dataclass
class Lookup:
    """What of a job was in the cache, and what is left to capture."""

    job: Job
    wanted: list[Wanted] = field(default_factory=list)
    left: list[CaptureJob] = field(default_factory=list)
    kept: list[CaptureJob] = field(default_factory=list)
    """Of what is left, what was captured and is in the cache, where it fits there."""
    taken: list[ReusedTrace] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def report(self, watcher: Watcher) -> None:
        """Tells what was taken and why the rest was not."""
        name = self.job.implementation
        for trace in self.taken:
            said = Event("reused", trace.case, trace.dtype, message=trace.captured)
            watcher.event(name, said)
        for reason, count in self.reasons.items():
            watcher.event(name, Event("noted", message=f"{count} to capture: {reason}"))

    def leave(
        self, items: Sequence[CaptureJob], elsewhere: str, watcher: Watcher
    ) -> None:
        """Keeps nothing of captures of another machine: here they may differ."""
        self.kept += items
        note = f"not kept, its node has other {elsewhere}"
        watcher.event(self.job.implementation, Event("noted", message=note))


class CachedCrew:
    """Any crew, which captures what the cache does not have.

    ``make`` gives it, told how to leave out of a job what was taken.
    """

    def __init__(
        self, cache: TraceCache, make: Callable[[Callable[[Job], Job]], Crew]
    ) -> None:
        self.cache, self.crew = cache, make(self._left)
        self.lookups: list[Lookup] = []
        self.running: tuple[RunState, Watcher] | None = None

    def __enter__(self) -> CachedCrew:
        self.crew.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.crew.__exit__(*error)

    def capture_all(
        self, names: Sequence[str], state: RunState, watcher: Watcher
    ) -> None:
        """Takes what is there, has the rest captured and keeps that."""
        self.running = state, watcher
        try:
            self.crew.capture_all(names, state, _Keeper(self, watcher))
        finally:
            for lookup in self.lookups:
                self.keep(lookup, lookup.left)

    def keep(self, lookup: Lookup, items: Sequence[CaptureJob]) -> None:
        """Keeps captures of a lookup, while there is room."""
        assert self.running is not None
        try:
            self.cache.keep(lookup, items)
        except (CacheFull, OSError, MmparityError) as error:
            self.cache.full = True
            self.running[1].failed(f"the cache takes no more traces: {error}")

    def _left(self, job: Job) -> Job:
        """The job without what was taken of it, once: when its crew asks."""
        assert self.running is not None
        state, watcher = self.running
        lookup = self.cache.lookup(job)
        self.lookups.append(lookup)
        state.clock.lap("cache")
        lookup.report(watcher)
        return replace(job, captures=tuple(lookup.left))


@dataclass(frozen=True)
class _Keeper:
    """A watcher that has each trace kept once it is whole, for a run may be killed.

    That of several ranks is made after the last one.
    """

    crew: CachedCrew
    watcher: Watcher

    def event(self, implementation: str, event: Event) -> None:
        self.watcher.event(implementation, event)
        if event.event != "captured":
            return
        for lookup in self.crew.lookups:
            if lookup.job.implementation == implementation:
                said = event.case, event.dtype
                items = [i for i in lookup.left if (i.case, i.dtype) == said]
                if event.elsewhere:
                    self.crew.cache.captured += len(items)
                    lookup.leave(items, event.elsewhere, self.watcher)
                elif lookup.job.tp == 1:
                    self.crew.keep(lookup, items)

    def compared(self, case: CaseComparison, seconds: float) -> None:
        self.watcher.compared(case, seconds)

    def failed(self, message: str) -> None:
        self.watcher.failed(message)


def _is_made(item: CaptureJob) -> bool:
    return (Path(item.out) / MANIFEST).exists()


def _unfit(job: Job, item: CaptureJob, meta: TraceMeta) -> str | None:
    """Why a capture is no matter for a cache; None where it is."""
    if item.partial:
        return "it is not all that the encoder computes by itself"
    if job.implementation in ADDED:
        return "its code is in a file of --encoder"
    if job.implementation in UNPINNED:
        return "its packages are not pinned"
    if job.device == "npu":
        return "NPUs and their CANN have no digest"
    return unknowable(meta)


def _configuration(checkpoint: Path) -> str:
    """A digest of a checkpoint's JSON files: how its tensors are used."""
    digest = blake3()
    for file in sorted(checkpoint.glob("*.json")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest(16)
