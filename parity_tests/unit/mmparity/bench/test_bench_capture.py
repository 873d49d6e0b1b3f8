# SPDX-License-Identifier: Apache-2.0
"""What the table of the recording's cost says of figures that are known."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mmparity.bench.capture import MODES, _Peak, table


def row(mode: str, recorded: float, extra_mib: int) -> str:
    one: dict[str, Any] = {
        "seconds": {"plain": [1.5, 1.0], "recorded": [recorded, 9.0]},
        "extra_bytes": extra_mib << 20,
        "written_bytes": 3 << 20,
    }
    printed = StringIO()
    Console(width=200, file=printed).print(table({mode: one}))
    lines = printed.getvalue().splitlines()
    return next(line for line in lines if MODES[mode][0] in line)


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
    with _Peak() as peak:
        held = bytearray(b"x" * (32 << 20))
        peak._end.wait(0.1)
        del held
    assert peak.extra >= 30 << 20
