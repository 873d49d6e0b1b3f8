# SPDX-License-Identifier: Apache-2.0
"""Generated tables of pages in docs/, between their markers."""

from __future__ import annotations

from pathlib import Path

from mmparity.errors import MmparityError


def write_between(file: Path, begin: str, end: str, body: str) -> None:
    """Puts ``body`` in place of what stands between two lines of ``file``."""
    try:
        text = replace_between(file.read_text(), begin, end, body)
    except ValueError:
        raise MmparityError(f"{file} needs {begin}, then {end}, once each.") from None
    file.write_text(text)


def replace_between(text: str, begin: str, end: str, body: str) -> str:
    """The text with ``body`` between two lines; ValueError where they are not."""
    before, _, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or not ended:
        raise ValueError(f"exactly one {begin} and one {end} after it are needed")
    return f"{before}{begin}\n{body}{end}{after}"
