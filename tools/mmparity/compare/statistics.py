# SPDX-License-Identifier: Apache-2.0
"""Two traces of statistics: which hook points may differ, and what to capture next.

Nothing here is a comparison of tensors. A row passes *by sketch* where the estimated
errors times their band (docs/capture-cost.md) are inside the tolerance; what cannot be
said so is a suspect. Elements, the oracle and the structure are not judged.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import torch

from mmparity.compare.align import Pair, align, check_comparable
from mmparity.compare.evidence.coverage import coverage
from mmparity.compare.metrics.metrics import TOKEN_FLOOR
from mmparity.compare.metrics.sketch import MISS, PROJECTIONS
from mmparity.compare.rows import Readers, judge
from mmparity.compare.tolerances import tolerance_for
from mmparity.errors import MmparityError
from mmparity.stored_json import to_json
from mmparity.trace.folder import manifests_in
from mmparity.trace.manifest import read_manifest
from mmparity.trace.reader import TraceReader
from mmparity.types.row import Tolerance

Word = Literal["same statistics", "by sketch", "exact", "suspect"]
SHOWN = 12
"""Suspects that are printed and asked for; later ones mostly follow from these."""


@dataclass(frozen=True)
class StatisticsRow:
    """One hook point of two traces of statistics.

    ``error`` and ``token_error`` are estimates of the normalized L2 error and of the
    worst token's; None where the tensors were kept and compared.
    """

    hook_point: str
    word: Word
    reason: str = ""
    error: float | None = None
    token_error: float | None = None
    token: int | None = None


@dataclass(frozen=True)
class StatisticsCase:
    """All hook points of one case; ``undeclared`` has no partner and no reason."""

    name: str
    dtype: str
    rows: tuple[StatisticsRow, ...]
    undeclared: tuple[str, ...]
    next: tuple[str, ...]
    """The commands of the second pass; none where there is no suspect."""

    @property
    def suspects(self) -> list[StatisticsRow]:
        """Rows that do not pass."""
        return [row for row in self.rows if row.word == "suspect"]


def holds_statistics(folder: Path) -> bool:
    """Whether a folder has a trace of statistics."""
    return any(
        read_manifest(file).statistics is not None for file in manifests_in(folder)
    )


def compare_statistics(
    old: Path, new: Path, oracle: Path | None, out: Path, as_json: bool
) -> int:
    """Prints what the statistics say; 0 no suspect, 1 suspects."""
    from mmparity.trace.folder import find_traces

    if oracle is not None:
        raise MmparityError("--oracle needs tensors; these are traces of statistics.")
    olds, news = (find_traces(side, statistics=True) for side in (old, new))
    if olds.keys() != news.keys():
        names = ", ".join("-".join(key) for key in sorted(olds.keys() ^ news.keys()))
        raise MmparityError(
            f"only one of {old} and {new} has: {names}. Capture both with the same "
            "--case and --dtype."
        )
    cases = [compare_case(olds[key], news[key], out) for key in olds]
    if as_json:
        click.echo(to_json(cases), nl=False)
    else:
        click.echo("\n\n".join(text(case) for case in cases))
    return int(any(case.suspects or case.undeclared for case in cases))


def compare_case(old: TraceReader, new: TraceReader, out: Path) -> StatisticsCase:
    """Judges every hook point of one case."""
    check_comparable(old.meta, new.meta)
    assert old.statistics and new.statistics
    kinds = {(s.projections, s.seed) for s in (old.statistics, new.statistics)}
    if kinds != {(PROJECTIONS, old.statistics.seed)}:
        raise MmparityError(
            f"{old.directory} and {new.directory} were sketched in different ways. "
            "Capture both with this version."
        )
    alignment = align(old, new, None)
    if not alignment.pairs:
        raise MmparityError(f"{old.directory}, {new.directory}: no hook point in both.")
    rows = tuple(_row(pair, old, new) for pair in alignment.pairs)
    undeclared = [item.path for item in alignment.unmatched if not item.explained]
    undeclared += coverage(old, new, alignment).uncovered_paths
    commands = _second_pass(rows, (old, new), out)
    return StatisticsCase(
        old.meta.case, old.meta.dtype, rows, tuple(undeclared), commands
    )


def _row(pair: Pair, old: TraceReader, new: TraceReader) -> StatisticsRow:
    name = pair.hook_point
    record = pair.old or pair.new
    assert record
    here, there = (_reduced(trace).get(name) for trace in (old, new))
    dtype = (here or there or (record.dtype,))[0]
    tolerance = tolerance_for(name, dtype, old.meta.dtype)
    if here is None or there is None or pair.old is None or pair.new is None:
        judged = judge(pair, Readers(old, new, None), tolerance)
        word: Word = "exact" if judged.verdict == "pass" else "suspect"
        return StatisticsRow(name, word, judged.reason)
    for side, one in (("old", pair.old), ("new", pair.new)):
        if one.error:
            return StatisticsRow(
                name, "suspect", f"{side} could not be used: {one.error}"
            )
    if here[1] != there[1]:
        return StatisticsRow(
            name, "suspect", f"shape differs: old {here[1]}, new {there[1]}"
        )
    return _estimated(name, old.read(name), new.read(name), tolerance)


def _estimated(
    name: str, old_TS: torch.Tensor, new_TS: torch.Tensor, tolerance: Tolerance
) -> StatisticsRow:
    """A row of two tensors' statistics."""
    if torch.equal(old_TS, new_TS):
        return StatisticsRow(name, "same statistics", "", 0.0, 0.0)
    old_TS, new_TS = old_TS.double(), new_TS.double()
    sizes_T = size_of_difference(old_TS, new_TS)
    error = _ratio(sizes_T.norm().item(), old_TS[:, 0].norm().item())
    floor = TOKEN_FLOOR * old_TS[:, 0].square().mean().sqrt()
    errors_T = sizes_T / torch.maximum(old_TS[:, 0], floor)
    errors_T = torch.where(sizes_T == 0, torch.zeros_like(errors_T), errors_T)
    token = int(errors_T.argmax())
    worst = errors_T[token].item()
    inside = (
        MISS * error <= tolerance.normalized_l2_error
        and MISS * worst <= tolerance.max_token_error
    )
    if inside:
        return StatisticsRow(name, "by sketch", "", error, worst, token)
    reason = (
        f"estimated L2 error {error:.2g}, token {token}: {worst:.2g}; up to "
        f"{MISS:g} times as much cannot be excluded, and "
        f"{tolerance.normalized_l2_error:g}, {tolerance.max_token_error:g} are allowed"
    )
    return StatisticsRow(name, "suspect", reason, error, worst, token)


def size_of_difference(old_TS: torch.Tensor, new_TS: torch.Tensor) -> torch.Tensor:
    """The estimated norm of each token's difference, from both sides' statistics.

    It is at least what norms and ends differ by: that is a bound and no estimate.
    """
    difference_TS = new_TS - old_TS
    sketched_T = difference_TS[:, 3:].norm(dim=1) / math.sqrt(PROJECTIONS)
    return torch.maximum(sketched_T, difference_TS[:, :3].abs().amax(dim=1))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf


def _second_pass(
    rows: Sequence[StatisticsRow], traces: tuple[TraceReader, TraceReader], out: Path
) -> tuple[str, ...]:
    """The commands that capture the first suspects and their neighbours as tensors."""
    names = [row.hook_point for row in rows]
    places = [n for n, row in enumerate(rows) if row.word == "suspect"][:SHOWN]
    around = sorted({n + step for n in places for step in (-1, 0, 1)})
    chosen = [names[n] for n in around if 0 <= n < len(names)]
    both = [name for name in chosen if all(name in trace for trace in traces)]
    if not both:
        return ()
    paths = (out / "suspects-old", out / "suspects-new", out)
    *folders, out_word = (shlex.quote(str(path)) for path in paths)
    commands = [
        f"{trace.statistics.command} --only {','.join(both)} --out {folder}"
        for trace, folder in zip(traces, folders, strict=True)
        if trace.statistics
    ]
    return (*commands, f"mmparity compare {folders[0]} {folders[1]} --out {out_word}")


def text(case: StatisticsCase) -> str:
    """What a reader is told of a case."""
    counts = Counter(row.word for row in case.rows)
    said = ", ".join(f"{n} {word}" for word, n in counts.items() if word != "suspect")
    suspects, undeclared = case.suspects, case.undeclared
    lines = [
        f"{case.name}, {case.dtype}: {len(suspects)} suspects among {len(case.rows)} "
        f"hook points" + (f" ({said})" if said else ""),
        f"Estimated from {PROJECTIONS} random projections of each token; tensors were "
        "not compared, nor elements, the oracle and the structure judged.",
    ]
    lines += [f"  {row.hook_point}: {row.reason}" for row in suspects[:SHOWN]]
    if len(suspects) > SHOWN:
        lines.append(f"  and {len(suspects) - SHOWN} later ones")
    lines += [f"  no partner and no declared reason: {path}" for path in undeclared]
    estimated = [row for row in case.rows if row.error]
    if estimated and not suspects:
        worst = max(estimated, key=lambda row: row.error or 0.0)
        lines.append(f"  largest estimate: {worst.error:.2g} at {worst.hook_point}")
    if case.next:
        lines += ["Next, tensors of the suspects and their neighbours:"]
        lines += [f"  {command}" for command in case.next]
    return "\n".join(lines)


def _reduced(trace: TraceReader) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Hook point -> dtype and shape of what was reduced there."""
    return trace.statistics.reduced if trace.statistics else {}
