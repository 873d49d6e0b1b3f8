# SPDX-License-Identifier: Apache-2.0
"""``mmparity capture --against``: new is compared with a stored old while it runs.

Each tensor is measured where it lies, before the encoder goes on and may change it.
Nothing is held but the row at hand and what old has next: of a row within its
tolerance the metrics are written, of any other one the tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import torch

from mmparity.ahead import ReadAhead
from mmparity.align import check_comparable, pair_of
from mmparity.compare import Readers, judge_tensors, unusable
from mmparity.jobs import Job
from mmparity.measured import Measured, is_finite
from mmparity.metrics import non_finite
from mmparity.tolerances import tolerance_for
from mmparity.tracefile import TraceReader, TraceWriter, tensor_digest
from mmparity.types import MmparityError, TensorRecord, Tolerance, TraceMeta

NOT_FINITE = "it has values that are NaN or infinite"


class ComparingWriter(TraceWriter):
    """Writes a trace that has metrics in place of the tensors that pass."""

    def __init__(
        self,
        directory: Path,
        meta: TraceMeta,
        old: TraceReader,
        oracle: TraceReader | None = None,
    ) -> None:
        super().__init__(directory, meta)
        check_comparable(old.meta, meta)
        if oracle is not None:
            check_comparable(old.meta, oracle.meta, what="oracle")
        for trace in (old, oracle):
            if trace is not None and _same(trace.directory, self.directory):
                raise MmparityError(
                    f"{trace.directory} is where this capture goes. Give another --out."
                )
            if trace is not None and trace.measured:
                raise MmparityError(
                    f"{trace.directory} was compared while it ran and has no tensors. "
                    "Capture it without --against."
                )
        self.readers = Readers(old, old, oracle)
        self._old = ReadAhead(old)
        self._oracle = ReadAhead(oracle) if oracle is not None else None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for ahead in filter(None, (self._old, self._oracle)):
            ahead.close()
        super().__exit__(kind, error, trace)

    def store(self, record: TensorRecord, stored: torch.Tensor) -> TensorRecord:
        """Writes the tensor only if its row does not pass; its record."""
        others = self._others(record)
        record = replace(record, digest=tensor_digest(stored))
        row = self._measure(record, stored, others) if others else None
        if row is None:
            if record.error is None and non_finite(stored):
                record = replace(record, error=NOT_FINITE)
            return super().store(record, stored)
        self.measured.append(row)
        return record

    def _others(self, record: TensorRecord) -> _Others | None:
        """The tensors to compare with; None where the row fails without a look."""
        old, oracle = self.readers.old, self.readers.oracle
        name = record.hook_point
        if name not in old:
            return None
        pair = pair_of(name, old.record(name), record, oracle)
        tolerance = tolerance_for(name, old.record(name).dtype, old.meta.dtype)
        if unusable(pair, self.readers, tolerance):
            return None
        by_oracle = self._oracle if pair.oracle and not tolerance.exact else None
        exact = by_oracle.read(name) if by_oracle else None
        return _Others(self._old.read(name), exact, tolerance)

    def _measure(
        self, record: TensorRecord, stored: torch.Tensor, others: _Others
    ) -> Measured | None:
        name = record.hook_point
        equal = record.digest == self.readers.old.record(name).digest
        outcome = judge_tensors(
            others.old, stored, others.oracle, others.tolerance, equal
        )
        metrics = outcome.metrics
        if outcome.verdict != "pass" or metrics is None or not is_finite(metrics):
            return None
        old, oracle = self.readers.old, self.readers.oracle
        exact = (
            oracle.record(name).digest if oracle and others.oracle is not None else None
        )
        return Measured(name, old.record(name).digest, exact, metrics)


@dataclass(frozen=True)
class _Others:
    old: torch.Tensor
    oracle: torch.Tensor | None
    tolerance: Tolerance


def with_against(job: Job, old: Path, oracle: Path | None) -> Job:
    """The job, where each capture is compared with its trace in ``old``."""
    from mmparity.offline import find_traces

    if job.tp > 1:
        raise MmparityError("--against compares on one device; leave --tp out.")
    olds = find_traces(old)
    captures = [
        replace(item, against=_find(olds, item.case, item.dtype, old))
        for item in job.captures
    ]
    if oracle is not None:
        exact = find_traces(oracle)
        captures = [
            replace(item, oracle=_find(exact, item.case, "float64", oracle))
            for item in captures
        ]
    return replace(job, captures=tuple(captures))


def _find(
    traces: dict[tuple[str, str], TraceReader],
    case: str,
    dtype: str,
    folder: Path | None,
) -> str:
    found = traces.get((case, dtype))
    if found is None:
        there = ", ".join(f"{name} in {kind}" for name, kind in traces)
        raise MmparityError(
            f"{folder} has no trace of {case} in {dtype}; it has {there}. Capture both "
            "with the same --case, --grid and --dtype."
        )
    return str(found.directory.resolve())


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
