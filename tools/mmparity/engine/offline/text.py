# SPDX-License-Identifier: Apache-2.0
"""An engine result for the terminal. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from mmparity.types.engine import EngineMemory, EngineResult, EngineRow

_MIB = 1 << 20


def summary(result: EngineResult) -> str:
    """The verdict, a line for each row that is not plain, and the memory figures."""
    counts = result.summary
    lines = [
        f"{result.verdict.upper()} - engine: {counts.passed} of {counts.total} the "
        f"same, {counts.failed} differ, {counts.errors} errors, "
        f"{counts.cannot_run} cannot run here"
    ]
    lines += [f"  {error}" for error in result.errors]
    for old, new in dict.fromkeys((row.old, row.new) for row in result.rows):
        rows = [row for row in result.rows if (row.old, row.new) == (old, new)]
        lines += ["", f"{old} : {new}", *(_row(row) for row in rows)]
    for item in result.memory:
        lines += ["", *_memory(item)]
    return "\n".join(lines) + "\n"


def _row(row: EngineRow) -> str:
    line = f"  {row.verdict:10} {row.model:10} {row.scenario:23} "
    if row.logprob_difference is not None:
        same = "equal bits" if row.exact else _differences(row)
        line += f"{row.tokens:3} tokens {row.embeddings:2} embeddings  {same}"
    if row.reason:
        line += f"  {row.reason}"
    return "\n".join([line.rstrip(), *(f"             {note}" for note in row.notes)])


def _differences(row: EngineRow) -> str:
    """Of answers that were served, there are no embeddings to compare."""
    found = (("logprobs", row.logprob_difference),
             ("embeddings", row.embedding_difference))  # fmt: skip
    return ", ".join(f"{name} within {x:.1e}" for name, x in found if x is not None)


def _memory(item: EngineMemory) -> Iterator[str]:
    figures = item.figures
    reason = f": {item.reason}" if item.reason else ""
    yield f"memory of {figures.side} ({figures.model}): {item.verdict}{reason}"
    for moment, held in figures.held.items():
        yield (
            f"  {moment:27} {held['entries']:4} entries of "
            f"{held['entry_bytes'] / _MIB:7.2f} MiB hold "
            f"{held['held_bytes'] / _MIB:7.2f} MiB; tensors "
            f"{held['tensor_bytes'] / _MIB:7.1f} MiB, resident "
            f"{held['resident_bytes'] / _MIB:7.1f} MiB"
        )
    if figures.points and item.growth is not None:
        first, last = figures.points[0], figures.points[-1]
        yield (
            f"  resident: {first.resident_bytes / _MIB:.1f} MiB after "
            f"{first.requests} requests, {last.resident_bytes / _MIB:.1f} MiB after "
            f"{last.requests}; after the warm-up it grew by {item.growth:.2%}"
        )
