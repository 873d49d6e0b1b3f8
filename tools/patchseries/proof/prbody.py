# SPDX-License-Identifier: Apache-2.0
"""The text of the pull request that sends one patch upstream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from patchseries.apply.derive import origins
from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.series.folder import read_series, series_names
from patchseries.series.lint import depends_on
from patchseries.series.patch import Patch
from patchseries.series.series import Series


def find_patch(project: Project, slug: str) -> tuple[Series, Patch]:
    """The patch of that name, in whichever series it is.

    Args:
        slug: SLUG, SERIES/SLUG, or the path of the file; series that are merged from
            another one are meant by the last two alone.
    """
    where, _, slug = slug.removesuffix(".patch").rpartition("/")
    where = where.rpartition("/")[2]
    merged = origins(project)
    names = [n for n in series_names(project) if where == n or not where]
    every = [read_series(project, n) for n in names if where or n not in merged]
    hits = [(s, p) for s in every for p in s.patches if p.slug == slug]
    if len(hits) == 1:
        return hits[0]
    if hits:
        found = " or ".join(f"`{series.name}/{slug}`" for series, _ in hits)
        message = f"{len(hits)} series have a patch {slug}"
        raise PatchseriesError("two-patches", message, f"give {found}")
    known = "".join(f"\n     {p.slug}" for s in every for p in s.patches)
    raise PatchseriesError("unknown-patch", f"no patch {slug!r}; there are{known}")


def pr_body(series: Series, patch: Patch, results: Sequence[str] = ()) -> str:
    """Title, Purpose, Test Plan and Test Result, as the template upstream asks.

    Args:
        results: paragraphs of the Test Result; without any, a draft.
    """
    plan = [v for k, v in patch.trailers if k.lower() == "test-plan"]
    parts = [
        f"# {patch.subject}",
        "## Purpose",
        unwrap(patch.explanation),
        _related(patch),
        _stack(series, patch),
        "## Test Plan",
        _code(plan) if plan else "None stated.",
        "## Test Result",
        *(results or ["DRAFT: no result of this version of the patch is shown."]),
        "## Scope",
        _files(patch),
        "---\n" + _checklist(bool(plan), bool(results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def unwrap(text: str) -> str:
    """Join the lines of plain paragraphs: a pull request shows every line break.

    >>> unwrap("one\\ntwo\\n\\n  code\\n- item\\n  more")
    'one two\\n\\n  code\\n- item\\n  more'
    """
    paragraphs = text.split("\n\n")
    plain = re.compile(r"(?![ \t>|#*`-]|\d+[.)])")
    return "\n\n".join(
        " ".join(lines) if all(map(plain.match, lines)) else "\n".join(lines)
        for lines in (p.splitlines() for p in paragraphs)
    )


def _related(patch: Patch) -> str:
    related = patch.trailer("Related")
    return f"Related: {related}" if related else ""


def _stack(series: Series, patch: Patch) -> str:
    needed = depends_on(patch)
    if not needed:
        return "Applies on its own."
    titles = {p.slug: p.subject for p in series.patches}
    return "Builds on:\n" + "\n".join(f"- {titles.get(s, s)}" for s in needed)


def _code(lines: Iterable[str]) -> str:
    return "```bash\n" + "\n".join(lines) + "\n```"


def _files(patch: Patch) -> str:
    rows = [f"- `{c.path}` (+{c.added} -{c.removed})" for c in patch.changes]
    total = f"{len(rows)} files, +{patch.added} -{patch.removed} lines."
    return total + "\n\n" + "\n".join(rows)


def _checklist(has_plan: bool, has_results: bool) -> str:
    items = {
        "The purpose of the PR": True,
        "The test plan": has_plan,
        "The test results": has_results,
        "Not a duplicate of an open PR (say which you looked at)": False,
        "Use of AI assistance is stated, and a person has reviewed every line": False,
    }
    marks = {True: "x", False: " "}
    return "\n".join(f"- [{marks[done]}] {text}" for text, done in items.items())
