# SPDX-License-Identifier: Apache-2.0
"""Rows that a trace has as numbers: measured against old's tensors, then let go."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mmparity.types import Metrics, MmparityError, TensorRecord

if TYPE_CHECKING:
    from mmparity.tracefile import TraceReader

ORACLE_FIELDS = tuple(one.name for one in fields(Metrics) if "_oracle_" in one.name)
SIGNED = {"old_at_worst", "new_at_worst", "cosine_similarity", "min_token_cosine"}


@dataclass(frozen=True)
class Measured:
    """One row of a trace that has the metrics in place of the tensor.

    Attributes:
        hook_point: of the record.
        old_digest: of old's tensor that it was measured against.
        oracle_digest: of the oracle's; None where it has none, or none was given.
        metrics: within the tolerance when they were taken.
    """

    hook_point: str
    old_digest: str
    oracle_digest: str | None
    metrics: Metrics


def is_finite(metrics: Metrics) -> bool:
    """Whether every number is one."""
    return all(math.isfinite(value) for _, value in _floats(metrics))


def problem_of(row: Measured, record: TensorRecord) -> str | None:
    """What cannot be true of a tensor with this record, or None."""
    metrics, shape = row.metrics, record.shape
    if record.file or record.error:
        return "has a tensor or an error, and numbers in its place"
    if metrics.numel != math.prod(shape) or not metrics.numel:
        return f"numel is {metrics.numel}, the shape {shape}"
    tokens = shape[0] if len(shape) > 1 else 1
    places = [(metrics.min_token_cosine_index, tokens)]
    places += [(metrics.max_token_error_index, tokens)]
    places += list(zip(metrics.worst_index, shape, strict=False))
    if len(metrics.worst_index) != len(shape):
        return f"worst_index is {metrics.worst_index}, the shape {shape}"
    if any(not 0 <= place < size for place, size in places):
        return f"an index is outside of the shape {shape}"
    for name, value in _floats(metrics):
        least = -1 if "cosine" in name else -math.inf if name in SIGNED else 0
        most = 1 if "cosine" in name else math.inf
        if not math.isfinite(value) or not least <= value <= most:
            return f"{name} is {value}"
    present = {getattr(metrics, name) is not None for name in ORACLE_FIELDS}
    if present != {row.oracle_digest is not None}:
        return "the oracle's digest and what was measured against it do not fit"
    equal = row.old_digest == record.digest
    if metrics.bit_equal != equal or (equal and metrics.max_abs_diff != 0):
        return "the digests say otherwise than bit_equal and max_abs_diff"
    return None


def _floats(metrics: Metrics) -> Iterator[tuple[str, float]]:
    for one in fields(metrics):
        value = getattr(metrics, one.name)
        if isinstance(value, float):
            yield one.name, value


def check_measured(
    old: TraceReader, new: TraceReader, oracle: TraceReader | None
) -> None:
    """Refuses a trace of numbers that were measured against other tensors."""
    for what, trace in (("old", old), ("the oracle", oracle)):
        if trace is not None and trace.measured:
            raise MmparityError(
                f"{trace.directory} was compared while it ran and has no tensors, so "
                f"it cannot be {what}. Capture it without --against."
            )
    for name, row in new.measured.items():
        if name not in old or old.record(name).digest != row.old_digest:
            raise _other(new, old, name)
        if oracle is not None and row.oracle_digest != _of_oracle(old, oracle, name):
            raise _other(new, oracle, name)


def metrics_for(row: Measured, oracle: TraceReader | None) -> Metrics:
    """The row's metrics; without those of an oracle that is not asked for."""
    if oracle is not None:
        return row.metrics
    absent: dict[str, Any] = dict.fromkeys(ORACLE_FIELDS)
    return replace(row.metrics, **absent)


def _of_oracle(old: TraceReader, oracle: TraceReader, name: str) -> str | None:
    """The digest of the tensor that a row is judged by, if it is by one."""
    from mmparity.tolerances import tolerance_for

    exact = tolerance_for(name, old.record(name).dtype, old.meta.dtype).exact
    return None if exact or name not in oracle else oracle.record(name).digest


def _other(new: TraceReader, other: TraceReader, name: str) -> MmparityError:
    option = "--oracle" if other.meta.dtype == "float64" else "--against"
    return MmparityError(
        f"{new.directory} was measured against another trace than {other.directory}: "
        f"the digests of {name} differ. Its tensors are gone: give the same traces as "
        f"its capture was given, or capture again with {option} {other.directory}."
    )
