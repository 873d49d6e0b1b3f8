# SPDX-License-Identifier: Apache-2.0
"""Tables for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from patchseries.apply.status import Status

_COLOURS = {
    "applied": "green",
    "exact": "green",
    "upstreamed": "cyan",
    "offset": "yellow",
    "three-way": "yellow",
}


def status_table(status: Status) -> Group:
    """Head line, one row for each patch, and why `apply` would refuse."""
    head = Text(f"{status.series} on {status.target} ({status.kind}): ")
    head.append(status.state, style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", "patch", "outcome", "detail"):
        table.add_column(title, overflow="fold")
    for number, patch in enumerate(status.patches, 1):
        colour = _COLOURS.get(patch.outcome, "red")
        outcome = f"[{colour}]{patch.outcome}[/]"
        table.add_row(str(number), escape(patch.slug), outcome, escape(patch.detail))
    parts: list[Text | Table] = [head, table]
    if status.reason:
        parts.append(Text(f"apply would refuse: {status.reason}"))
    return Group(*parts)
