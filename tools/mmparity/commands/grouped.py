# SPDX-License-Identifier: Apache-2.0
"""Help in groups, each with an example, whose lines break no name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

GROUPS = {
    "what": "mmparity run --model qwen2-vl-7b --case image --dtype bfloat16",
    "where": "mmparity run --device npu --tree unified:vllm=../vllm-fork",
    "how much": "mmparity run --fast --cache build/cache",
    "output": "mmparity run --fast --out build/fast --json",
}
"""Group of options -> the example that its help ends with."""
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


class Grouped(click.Option):
    """An option that says which group of the help it is in."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert group in GROUPS, group
        self.group = group


class GroupedCommand(click.Command):
    """Its help has a section for each group, in the order of `GROUPS`."""

    examples: Mapping[str, str] = GROUPS

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Writes the groups, and what is in none last."""
        records: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                group = getattr(parameter, "group", "other")
                records.setdefault(group, []).append(record)
        for name, found in records.items():
            if found:
                with formatter.section(name.capitalize()):
                    formatter.write_dl(found)
                    self._write_example(name, formatter)

    def _write_example(self, group: str, formatter: click.HelpFormatter) -> None:
        example = self.examples.get(group)
        if example and self.name == "run":
            formatter.write_paragraph()
            formatter.write_text(f"Example: {example}")


def option(group: str, *names: str, **given: Any) -> Callable[..., Any]:
    """``click.option`` in a group of the help."""
    return click.option(*names, cls=Grouped, group=group, **given)
