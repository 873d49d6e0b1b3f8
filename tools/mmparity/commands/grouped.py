# SPDX-License-Identifier: Apache-2.0
"""Help in groups: what belongs together stands together, each with an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

GROUPS = {
    "what": "mmparity run --model qwen2-vl-7b --case image --dtype bfloat16",
    "where": "mmparity run --device npu --tree unified:vllm=../vllm-fork",
    "how much": "mmparity run --fast --cache build/cache",
    "output": "mmparity run --fast --out build/fast --json",
}
"""Group of options -> the example that its help ends with."""


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
