# SPDX-License-Identifier: Apache-2.0
"""Reports: pure renderings of a ComparisonResult; the same input, the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.report import html, junit, markdown, text, view
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
    shown = view.build(result)
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
    texts = render(result, formats)
    return {name: write_text(out / FILES[name], body) for name, body in texts.items()}


def terminal_summary(result: ComparisonResult, color: bool = False) -> str:
    """Returns the verdict and where it was decided, in at most 15 lines."""
    return text.summary(view.build(result), color)
