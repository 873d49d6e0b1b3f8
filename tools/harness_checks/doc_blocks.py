# SPDX-License-Identifier: Apache-2.0
"""Generated tables of pages in docs/, between their markers."""

from __future__ import annotations

from pathlib import Path

from mmparity.errors import MmparityError


def write_between(file: Path, begin: str, end: str, body: str) -> None:
    """Puts ``body`` in place of what stands between two lines of ``file``."""
    text = file.read_text()
    before, _, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or not ended:
        raise MmparityError(f"{file} needs {begin}, then {end}, once each.")
    file.write_text(f"{before}{begin}\n{body}{end}{after}")
