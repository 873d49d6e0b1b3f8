# SPDX-License-Identifier: Apache-2.0
"""One trial of a server: builds an encoder, captures each case, compares it.

On one rank in this process; on several in a fork for each.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness_checks.mutants.workload import SMALLEST, Workload
from mmparity.compare.align import Pair
from mmparity.compare.case import compare_traces
from mmparity.compare.rows import Readers, Standard, judge
from mmparity.compare.tolerances import tolerance_for
from mmparity.run.noise import noise_between
from mmparity.run.plan import ORACLE, ORACLE_DTYPE
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison, Expected
from mmparity.workload.implementations import get
from mmparity.workload.pairs import expected_of
from mmparity.workload.towers import TOWERS

UNCHANGED = "unchanged"
"""One trial of a server, and how its captures are judged."""
RESULT = "last_hidden_state"


@dataclass(frozen=True)
class ServerJob:
    """Who runs what against which traces; a case's traces are in its folder."""

    implementation: str
    olds: dict[str, str]
    """Workload -> the implementation that it is compared with there."""
    trees: dict[str, str]
    checkpoints: dict[str, str]
    """Workload -> checkpoint."""
    inputs: dict[str, dict[str, str]]
    """Workload -> case -> pixels."""
    references: str
    """Folder of ``<implementation>/<workload>/<case>-<dtype>`` traces."""
    work: str
    mutants: tuple[str, ...]
    processes: int = 2
    peers: tuple[str, ...] = ()
    """Other tools that judge the mutants, in place of the harness."""


@dataclass(frozen=True)
class TrialOutcome:
    """What one mutant did.

    ``identical``: every tensor of every case has the bits of the tree without
    the edit. ``place`` is the first divergence: a hook point, a module that
    nobody declared, or the function that raised an error.
    """

    name: str
    dtype: str
    verdict: str
    edited: tuple[str, ...] = ()
    identical: bool = False
    case: str | None = None
    place: str | None = None
    reason: str = ""
    seconds: float = 0.0
    workload: str = "float"
    peers: dict[str, Any] = field(default_factory=dict)
    """Name of another tool -> what it found, as ``peers.types.Found``."""


@dataclass(frozen=True)
class Trial:
    """A mutant, or none, in one dtype on one workload."""

    name: str
    dtype: str
    workload: Workload
    job: ServerJob
    rewrites: bool = False
    """An edit that may change roundings: not held to the same bits."""

    @property
    def expected(self) -> Expected:
        """What the pair is held to; ranks are compared with one process."""
        if self.rewrites or self.workload.ranks > 1:
            return "floor"
        old, new = self.job.olds[self.workload.data], self.job.implementation
        return expected_of(old, new, model=self.workload.family)

    @property
    def standard(self) -> Standard:
        """As in a run; noise is measured where bits may differ, on one process."""
        load = self.workload
        if self.expected == "identical" or load.ranks > 1 or load.family in TOWERS:
            return Standard(self.expected)
        references, data = Path(self.job.references), self.workload.data
        folder = references / self.job.olds[data] / data
        oracle = references / ORACLE / data / f"{SMALLEST}-{ORACLE_DTYPE}"
        noise = noise_between(folder / f"{SMALLEST}-{self.dtype}", oracle)
        return Standard(self.expected, noise)

    def folder(self, case: str, name: str | None = None) -> Path:
        """Where the trace of a case goes; ``name`` for that of another trial."""
        place = Path(self.job.work) / (name or self.name) / self.workload.name
        return place / f"{case}-{self.dtype}"

    def reference(self, implementation: str, case: str, dtype: str) -> TraceReader:
        """A trace of the old implementation or the oracle."""
        folder = Path(self.job.references) / implementation / self.workload.data
        return TraceReader(folder / f"{case}-{dtype}")

    def oracle(self, case: str) -> TraceReader | None:
        """The oracle's trace of a case; None where it has no such encoder."""
        if self.workload.family not in get(ORACLE).classes:
            return None
        return self.reference(ORACLE, case, ORACLE_DTYPE)

    def old(self, case: str) -> TraceReader:
        """What a case is compared with."""
        return self.reference(self.job.olds[self.workload.data], case, self.dtype)

    def outcome(self, verdict: str, **known: Any) -> TrialOutcome:
        """What came of it."""
        given = {"workload": self.workload.name, **known}
        return TrialOutcome(self.name, self.dtype, verdict, **given)

    def judged(self, captured: Iterator[tuple[str, Exception | None]]) -> TrialOutcome:
        """Compares case after case as they are captured, up to the first that fails."""
        identical, standard = True, self.standard
        for case, error in captured:
            old = self.old(case)
            oracle = self.oracle(case)
            new = TraceReader(self.folder(case))
            found = self._compared(old, new, oracle, standard)
            if error is not None:
                return replace(found, verdict="error", reason=text_of(error))
            unchanged = TraceReader(self.folder(case, UNCHANGED))
            identical = identical and same_bits(new, unchanged)
            if found.verdict != "pass":
                return found
        return self.outcome("pass", identical=identical)

    def _compared(
        self,
        old: TraceReader,
        new: TraceReader,
        oracle: TraceReader | None,
        standard: Standard,
    ) -> TrialOutcome:
        if not self.workload.data_parallel:
            return self._diverged(compare_traces(old, new, oracle, standard=standard))
        assert oracle is not None
        here, there, exact = (trace.record(RESULT) for trace in (old, new, oracle))
        pair = Pair(RESULT, here, there, exact)
        stored, quantization = old.record(RESULT).dtype, old.meta.quantization
        tolerance = tolerance_for(RESULT, stored, self.dtype, quantization)
        judged = judge(pair, Readers(old, new, oracle), tolerance)
        place = RESULT if judged.verdict != "pass" else None
        return self.outcome(
            judged.verdict, case=old.meta.case, place=place, reason=judged.reason
        )

    def _diverged(self, compared: CaseComparison) -> TrialOutcome:
        place, reason = None, compared.reason
        failing = [layer for layer in compared.layers if layer.verdict != "pass"]
        undeclared = [item for item in compared.unmatched if not item.explained]
        if failing:
            place, reason = failing[0].hook_point, failing[0].reason
        elif undeclared:
            place = undeclared[0].path
        return self.outcome(
            compared.verdict, case=compared.name, place=place, reason=reason
        )


def same_bits(trace: TraceReader, other: TraceReader) -> bool:
    """Whether two traces hold the same tensors."""
    digests = [{r.hook_point: r.digest for r in t.records} for t in (trace, other)]
    return digests[0] == digests[1]


def raised_in(error: Exception, trees: dict[str, str]) -> str:
    """The innermost function of the trees that the error went through."""
    roots = tuple(str(Path(tree).resolve()) for tree in trees.values())
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.name for frame in frames if frame.filename.startswith(roots)]
    return f"{inside[-1] if inside else frames[-1].name}()"


def text_of(error: Exception) -> str:
    """The error's first line."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
