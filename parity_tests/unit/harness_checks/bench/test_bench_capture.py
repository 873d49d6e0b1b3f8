# SPDX-License-Identifier: Apache-2.0
"""What the table of the recording's cost says of figures that are known."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import pytest

from harness_checks.bench.capture import Peak
from harness_checks.bench.capture_table import BEGIN, END, markdown, rows, write_docs
from harness_checks.bench.costs import Conditions, RecordingCost
from mmparity.types.provenance import Machine


def row(mode: str, recorded: float, extra_mib: int) -> str:
    seconds = {"plain": [1.5, 1.0], "recorded": [recorded, 9.0]}
    one = RecordingCost(seconds, extra_mib << 20, 3 << 20)
    (found,) = rows({mode: one}, {mode: "title"})
    return " ".join(found.cells)


@pytest.mark.parametrize(
    ("recorded", "extra", "verdict"),
    [(1.5, 64, "met"), (1.51, 64, "missed"), (1.5, 65, "missed")],
)
def test_a_target_is_for_the_minima_and_for_the_memory(
    recorded: float, extra: int, verdict: str
) -> None:
    assert f"{verdict}: 1.5, 64 MiB" in row("trace", recorded, extra)


def test_a_peer_has_no_target() -> None:
    line = row("transformers", 4.0, 1)
    assert "4.00" in line
    assert "met" not in line and "missed" not in line


def test_memory_that_was_given_back_still_counts() -> None:
    # Of its own: a heap may have room.
    with Peak() as peak, mmap.mmap(-1, 32 << 20) as held:
        held[:] = bytes(1) * len(held)
        asked = time.monotonic()
        while peak.extra < 30 << 20 and time.monotonic() < asked + 20:
            time.sleep(0.01)
    assert peak.extra >= 30 << 20


def test_a_peer_that_is_not_there_has_a_row_that_says_so() -> None:
    missing = RecordingCost(missing="not installed: make setup EXTRA=peers")
    (found,) = rows({"msprobe-tensor": missing}, {"msprobe-tensor": "msprobe"})
    assert found.cells[-1] == missing.missing
    assert not any(found.cells[:-1])


def test_the_page_has_the_figures_with_their_origin(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"head\n{BEGIN}\nold\n{END}\nfoot\n")
    machine = Machine(processor="P", cpus=2, memory_bytes=4 << 30)
    when = "2026-01-02T03:04:05"
    given = Conditions("python -m x", when, machine, {"torch": "9"}, 5, 2)
    missing = RecordingCost(missing="not installed")
    write_docs(markdown(rows({"m": missing}, {"m": "peer"}), given), page)
    text = page.read_text()
    assert "2026-01-02, 2 cores of P, 4 GiB, 2 threads; torch 9" in text
    assert "| peer |  |  |  |  |  | not installed |" in text
    assert "old" not in text and text.endswith("foot\n")
