# SPDX-License-Identifier: Apache-2.0
"""The bench's figures and their targets as tables, here and in docs/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple

from harness_checks.bench.conditions import sentence
from harness_checks.bench.costs import Conditions, InputCost, PairCost
from harness_checks.bench.tables import Cells, markdown_table
from harness_checks.bench.targets import Target, ratio

BEGIN, END = "<!-- encoder-cost:begin -->", "<!-- encoder-cost:end -->"
HEAD = (
    *("new / old", "dtype", "input", "old s", "new s", "ratio (pairs)", "attention"),
    *("over GEMMs", "dispatches", "peak MiB", "per block: reads, pads, cats"),
)
TARGET_HEAD = ("target", "value", "at most", "")


def ratio_text(item: InputCost) -> str:
    """New over old by the minima, and of which pairs of processes that is."""
    low, high = min(item.ratios), max(item.ratios)
    return f"{ratio(item.seconds):.3f} ({low:.2f} to {high:.2f})"


def rows(measured: Iterable[PairCost]) -> Iterator[Cells]:
    """A row for each input of each pair."""
    for one in measured:
        blocks = [
            " ".join(f"{value:g}" for value in astuple(side)) for side in one.per_block
        ]
        for item in one.inputs:
            (old, new), calls = item.seconds, item.calls
            gemms = item.gemm_seconds
            peak = [value / 2**20 for value in item.peak_bytes]
            yield (
                f"{one.new} / {one.old}",
                one.dtype,
                item.title,
                *(f"{value:.{3 if value >= 0.1 else 5}f}" for value in (old, new)),
                ratio_text(item),
                f"{ratio(item.attention_seconds):.2f}",
                f"{new / gemms:.2f}" if gemms else "",
                f"{calls[0]} -> {calls[1]}",
                f"{peak[0]:.0f} -> {peak[1]:.0f}",
                f"{blocks[0]} -> {blocks[1]}",
            )


def target_rows(wanted: Iterable[Target]) -> Iterator[Cells]:
    """A row for each target, with the verdict."""
    for target in wanted:
        word = "met" if target.met else "missed"
        yield target.what, f"{target.value:.4g}", f"{target.limit:g}", word


def met(wanted: Sequence[Target]) -> str:
    """How many targets are."""
    return f"{sum(target.met for target in wanted)} of {len(wanted)} met"


def markdown(
    measured: Iterable[PairCost], wanted: Sequence[Target], given: Conditions
) -> str:
    """For a page, with what it was measured on, with what, and when."""
    lines = [
        f"{sentence(given)} Least of at least {given.repeats} forwards each, in "
        f"turn, by {given.processes} pairs of processes.",
        "",
        *markdown_table(HEAD, rows(measured)),
        "",
        f"Targets, {met(wanted)}:",
        "",
        *markdown_table(TARGET_HEAD, target_rows(wanted)),
    ]
    return "\n".join([*lines, ""])
