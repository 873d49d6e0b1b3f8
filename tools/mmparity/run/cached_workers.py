# SPDX-License-Identifier: Apache-2.0
"""``mmparity run --cache``: what an earlier run captured is taken, the rest is kept.

Only a trace of the same computation is taken: finished.SAME, and the settings below.
One of a tree with changes that are not committed is neither taken nor kept.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from mmparity import provenance
from mmparity.capture.finished import first_difference, same_fields, unknowable, why_not
from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.trace_meta import Origins, sources_of
from mmparity.capture.worker_process import Worker
from mmparity.errors import MmparityError
from mmparity.processes import Starter
from mmparity.run.plan import Options
from mmparity.run.prepare import Subject
from mmparity.run.trace_cache import Cache, CacheFull, digest_of
from mmparity.run.workers import LocalCrew, RunState, Watcher, job_of
from mmparity.trace.manifest import MANIFEST
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison
from mmparity.types.evidence import Reuse, ReusedTrace
from mmparity.types.trace import TraceMeta
from mmparity.workload.implementations import ADDED

ENVIRONMENT = (
    *("VLLM_", "ASCEND_", "TORCH", "PYTORCH_", "ATEN_", "PYTHONPATH", "CUDA_"),
    *("CUBLAS_", "CUDNN_", "NVIDIA_", "OMP_", "MKL_", "KMP_", "DNNL_", "ONEDNN_"),
)
"""Starts of the names of variables that may change what an encoder computes."""
NO_MATTER = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
"""scikit-learn sets them where it is imported, which is not in every run."""


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

    def crew(
        self, batch: Sequence[Subject], number: int, starter: Starter
    ) -> CachedCrew:
        """The workers of a batch."""
        self.store.reserve = sum(item.trace_bytes for item in batch)
        return CachedCrew(batch, number, starter, self)

    def reuse(self) -> Reuse:
        """What the result says of it."""
        reasons = dict(sorted(self.reasons.items()))
        size = self.store.size()
        return Reuse(tuple(self.traces), self.captured, reasons, size)

    def look(self, job: Job) -> Look:
        """Takes what is there of a job; the rest is left to capture."""
        origins = Origins(job)
        look = Look(job)
        for item in job.captures:
            meta = origins.of(item)
            reason = _unfit(job, item, meta)
            if reason is None:
                wanted = Wanted(item, meta, self._fields(job, item, meta))
                look.wanted.append(wanted)
                reason = self._take(wanted, look)
            if reason is not None:
                look.left.append(item)
                look.reasons[reason] += 1
                short = reason.partition("damaged")[1] or reason
                self.reasons[f"{job.implementation}: {short}"] += 1
        return look

    def keep(self, look: Look, items: Iterable[CaptureJob]) -> None:
        """Keeps those of the captures that are whole, unless it did already.

        Raises CacheFull or OSError where there is no room.
        """
        new = [item for item in items if item not in look.kept and _is_made(item)]
        look.kept += new
        self.captured += len(new)
        sources = sources_of(look.job) if new else {}
        for wanted in look.wanted:
            if wanted.item not in new or self.full or sources != wanted.meta.sources:
                continue
            out = Path(wanted.item.out)
            there = same_fields(TraceReader(out).meta)
            if first_difference(there, same_fields(wanted.meta)) is None:
                self.store.put(wanted.fields, out)

    def _take(self, wanted: Wanted, look: Look) -> str | None:
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
        name = look.job.implementation
        trace = ReusedTrace(name, item.case, item.dtype, digest, captured)
        look.taken.append(trace)
        self.traces.append(trace)
        return None

    def _fields(self, job: Job, item: CaptureJob, meta: TraceMeta) -> dict[str, Any]:
        path = item.checkpoint_in(job)
        if path not in self._configs:
            self._configs[path] = _configuration(Path(path))
        settings = {"configuration": self._configs[path], **_settings(job)}
        return {**same_fields(meta), **settings}


@dataclass(frozen=True)
class Wanted:
    """A capture, what it would say of itself, and the fields of its digest."""

    item: CaptureJob
    meta: TraceMeta
    fields: dict[str, Any]


@dataclass
class Look:
    """What of a job was in the cache, and what is left to capture."""

    job: Job
    wanted: list[Wanted] = field(default_factory=list)
    left: list[CaptureJob] = field(default_factory=list)
    kept: list[CaptureJob] = field(default_factory=list)
    """Of what is left, what was captured and is in the cache, where it fits there."""
    taken: list[ReusedTrace] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def say(self, watcher: Watcher) -> None:
        """Tells what was taken and why the rest was not."""
        name = self.job.implementation
        for trace in self.taken:
            said = Event("reused", trace.case, trace.dtype, message=trace.captured)
            watcher.event(name, said)
        for reason, count in self.reasons.items():
            watcher.event(name, Event("noted", message=f"{count} to capture: {reason}"))


class CachedCrew(LocalCrew):
    """Workers that capture what the cache does not have; none where it has all."""

    def __init__(
        self,
        batch: Sequence[Subject],
        number: int,
        starter: Starter,
        cache: TraceCache,
    ) -> None:
        super().__init__(batch, number, starter, self._without_taken)
        self.cache = cache
        self.looks: dict[str, Look] = {}

    def start_ahead(self, implementation: str) -> Worker | None:
        """Starts nothing for nothing."""
        look = self._look(implementation)
        return super().start_ahead(implementation) if look.left else None

    def capture(
        self, implementation: str, later: str | None, state: RunState, watcher: Watcher
    ) -> None:
        """Takes what is there, captures the rest and keeps that."""
        look = self._look(implementation)
        look.say(watcher)
        if not look.left:
            state.captured.add(implementation)
            return

        def keep(items: Sequence[CaptureJob]) -> None:
            try:
                self.cache.keep(look, items)
            except (CacheFull, OSError, MmparityError) as error:
                self.cache.full = True
                watcher.failed(f"the cache takes no more traces: {error}")

        try:
            told = _Keeper(look, keep, watcher)
            super().capture(implementation, later, state, told)
        finally:
            keep(look.left)

    def _look(self, implementation: str) -> Look:
        if implementation not in self.looks:
            job = job_of(self.batch, self.number, implementation)[0]
            self.looks[implementation] = self.cache.look(job)
        return self.looks[implementation]

    def _without_taken(self, job: Job) -> Job:
        return replace(job, captures=tuple(self._look(job.implementation).left))


@dataclass(frozen=True)
class _Keeper:
    """A watcher that has each trace kept once it is whole, for a run may be killed.

    That of several ranks is made after the last one.
    """

    look: Look
    keep: Callable[[Sequence[CaptureJob]], None]
    watcher: Watcher

    def event(self, implementation: str, event: Event) -> None:
        self.watcher.event(implementation, event)
        if event.event == "captured" and self.look.job.tp == 1:
            said = event.case, event.dtype
            self.keep([i for i in self.look.left if (i.case, i.dtype) == said])

    def compared(self, case: CaseComparison, seconds: float) -> None:
        self.watcher.compared(case, seconds)

    def failed(self, message: str) -> None:
        self.watcher.failed(message)


def _is_made(item: CaptureJob) -> bool:
    return (Path(item.out) / MANIFEST).exists()


def _unfit(job: Job, item: CaptureJob, meta: TraceMeta) -> str | None:
    """Why a capture is no matter for a cache; None where it is."""
    if item.partial or item.attention:
        return "it is not all that the encoder computes by itself"
    if job.implementation in ADDED:
        return "its code is in a file of --encoder"
    if job.device == "npu":
        return "NPUs and their CANN have no digest"
    return unknowable(meta)


def _settings(job: Job) -> dict[str, Any]:
    """What else may change the bits of a forward."""
    machine = provenance.machine()
    names = set(os.environ).difference(NO_MATTER)
    here = sorted(name for name in names if name.startswith(ENVIRONMENT))
    return {
        "data_parallel": job.data_parallel,
        "threads": job.threads,
        "machine": [machine[key] for key in ("architecture", "processor", "cpus")],
        "devices": _devices() if job.device == "cuda" else [],
        # A variable may be a secret.
        "environment": {
            name: blake3(os.environ[name].encode()).hexdigest(8) for name in here
        },
    }


def _devices() -> list[str]:
    """The driver's version and the names of the GPUs."""
    from mmparity.encoders.devices import cuda_devices

    driver = Path("/proc/driver/nvidia/version")
    version = driver.read_text() if driver.is_file() else "unknown"
    return [version, *cuda_devices()]


def _configuration(checkpoint: Path) -> str:
    """A digest of a checkpoint's JSON files: how its tensors are used."""
    digest = blake3()
    for file in sorted(checkpoint.glob("*.json")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest(16)
