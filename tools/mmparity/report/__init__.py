# SPDX-License-Identifier: Apache-2.0
"""Reports: pure renderings of a ComparisonResult; the same input, the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.report import costs, html, junit, markdown, text, view
from mmparity.types.comparison import ComparisonResult

FILES = {
    "html": "report.html",
    "markdown": "report.md",
    "junit": "report.xml",
    "text": "report.txt",
}
"""Format -> name of its file."""
PAGES = ("html", "markdown", "junit")
"""What every run writes."""


def render(result: ComparisonResult, formats: Sequence[str]) -> dict[str, str]:
    """Returns format -> text, for the formats asked for.

    Raises:
        MmparityError: a format is not one of `FILES`.
    """
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        raise MmparityError(
            f"--format {','.join(unknown)}: no such report. Allowed: {', '.join(FILES)}"
        )
    return _texts(view.build(result), result, formats)


def render_timed(
    result: ComparisonResult,
    formats: Sequence[str],
    timed: Callable[[], ComparisonResult],
) -> tuple[ComparisonResult, dict[str, str]]:
    """As `render`, of a result that says how long it took until they were rendered.

    Args:
        timed: makes that result, once they are.
    """
    shown = view.build(result)
    unknown = costs.with_unknown_stages(shown.costs)
    texts = _texts(replace(shown, costs=unknown), result, formats)
    done = timed()
    return done, {name: costs.filled(text, done) for name, text in texts.items()}


def _texts(
    shown: view.ReportView, result: ComparisonResult, formats: Sequence[str]
) -> dict[str, str]:
    renderers = {
        "html": lambda: html.render(shown, result),
        "markdown": lambda: markdown.render(shown),
        "junit": lambda: junit.render(shown),
        "text": lambda: text.render(shown),
    }
    return {name: renderers[name]() for name in dict.fromkeys(formats)}


def write_reports(
    result: ComparisonResult, out: Path, formats: Sequence[str]
) -> dict[str, Path]:
    """Writes one file per format into `out`, each of them whole or not at all.

    Returns:
        format -> path of its file.
    """
    return write_texts(render(result, formats), out)


def write_texts(texts: Mapping[str, str], out: Path) -> dict[str, Path]:
    """Writes what `render` made; returns format -> path of its file."""
    return {name: write_text(out / FILES[name], body) for name, body in texts.items()}


def terminal_summary(result: ComparisonResult, color: bool = False) -> str:
    """Returns the verdict and where it was decided, in at most 15 lines."""
    return text.summary(view.build(result), color)
