# SPDX-License-Identifier: Apache-2.0
"""What the table of the comparison's cost says of figures that are known."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from harness_checks.bench.costs import StoredCost
from harness_checks.bench.stored import table


@pytest.mark.parametrize(
    ("seconds", "extra", "rows", "verdict"),
    [
        (8.0, 256, 361, "met: 8 s, 256 MiB"),
        (8.1, 256, 361, "missed: 8 s, 256 MiB"),
        (8.0, 257, 361, "missed: 8 s, 256 MiB"),
        (1.0, 1, 360, "target is for 361 rows"),
    ],
)
def test_a_target_is_for_the_minimum_the_memory_and_all_rows(
    seconds: float, extra: int, rows: int, verdict: str
) -> None:
    found = StoredCost([9.0, seconds], extra << 20, rows, rows, 1 << 30)
    printed = StringIO()
    Console(width=200, file=printed).print(table(found))
    assert verdict in printed.getvalue()
    assert f"{seconds:.2f}" in printed.getvalue()
