# SPDX-License-Identifier: Apache-2.0
"""A series and its file as data: parse and format, without disk or git."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.git import State
from patchseries.series.patch import Patch

AUTHOR = "vllm-mm-encoder series <series@vllm-mm-encoder.invalid>"
DATE = "Thu, 1 Jan 2026 00:00:00 +0000"
"""One identity and date for every commit made from a series: the commits are the same
on every machine. Whoever sends a patch upstream signs it off (`apply --signoff`)."""


@dataclass(frozen=True)
class Series:
    """Patches in order, for one tree."""

    name: str
    patches: tuple[Patch, ...]

    @property
    def paths(self) -> list[str]:
        """Every path that the series touches."""
        return list(dict.fromkeys(c.path for p in self.patches for c in p.changes))

    def chains(self) -> dict[str, list[tuple[int, State]]]:
        """Per path: what it holds before the series, and after each patch touching it.

        Each entry is (number of patches applied, content); the first has number 0.

        Raises:
            PatchseriesError: a patch does not start from what the earlier ones made.
        """
        chains: dict[str, list[tuple[int, State]]] = {}
        for number, patch in enumerate(self.patches, 1):
            for change in patch.changes:
                chain = chains.setdefault(change.path, [(0, change.old)])
                if chain[-1][1] != change.old:
                    raise PatchseriesError(
                        "broken-series",
                        f"{self.name}/{patch.slug}.patch: {change.path} is not what "
                        "the patches before it leave",
                        "edit the commits and run `patchseries refresh`; patch files "
                        "are never edited by hand",
                    )
                chain.append((number, change.new))
        return chains


@dataclass(frozen=True)
class SeriesLine:
    """One entry of a `series` file with the comment lines above it."""

    slug: str
    comments: tuple[str, ...] = ()


def parse_series_file(text: str) -> tuple[list[SeriesLine], tuple[str, ...]]:
    """Entries in order, and the comments after the last one.

    >>> parse_series_file("# first\\na.patch\\n\\nb.patch -p1\\n")[0]
    [SeriesLine(slug='a', comments=('# first',)), SeriesLine(slug='b', comments=('',))]
    """
    entries: list[SeriesLine] = []
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            comments.append(line.rstrip())
            continue
        name, *options = line.split("#")[0].split()
        if options not in ([], ["-p1"]) or not re.fullmatch(r"[\w.-]+\.patch", name):
            raise PatchseriesError(
                "bad-series-file",
                f"series, line {number}: {line!r}",
                "one <slug>.patch in each line, without options",
            )
        entries.append(SeriesLine(name.removesuffix(".patch"), tuple(comments)))
        comments = []
    slugs = [entry.slug for entry in entries]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise PatchseriesError("bad-series-file", f"series lists {slug} twice")
    return entries, tuple(comments)


def format_series_file(lines: Iterable[SeriesLine], rest: Sequence[str] = ()) -> str:
    """The inverse of `parse_series_file`."""
    out = [text for x in lines for text in (*x.comments, f"{x.slug}.patch")]
    return "".join(f"{line}\n" for line in (*out, *rest))
