# SPDX-License-Identifier: Apache-2.0
"""Rows of figures as a table on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

Cells = tuple[str, ...]


def shown(head: Cells, rows: Iterable[Cells], title: str = "") -> Table:
    """For a terminal."""
    table = Table(*head, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(head: Cells, rows: Iterable[Cells]) -> list[str]:
    """The lines of a table on a page."""
    return [
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
