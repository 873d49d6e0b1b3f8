# SPDX-License-Identifier: Apache-2.0
"""Help whose lines break no name."""

from __future__ import annotations

from collections.abc import Iterable

import click

_KEPT = "\N{NON-BREAKING HYPHEN}"
"""Stands for a hyphen while lines are broken."""


class WholeNames(click.HelpFormatter):
    """Breaks no line within a name: at a hyphen, where it could not be copied."""

    def write(self, string: str) -> None:
        super().write(string.replace(_KEPT, "-"))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args.replace("-", _KEPT), prefix)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _KEPT))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        kept = [(name, text.replace("-", _KEPT)) for name, text in rows]
        super().write_dl(kept, col_max, col_spacing)


class HelpContext(click.Context):
    """Of a command whose help has whole names."""

    formatter_class = WholeNames
