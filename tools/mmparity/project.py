# SPDX-License-Identifier: Apache-2.0
"""Where this project keeps things, and names that must be known."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from mmparity.errors import MmparityError

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
SOURCES = ROOT / "vllm_src"


def user_cache() -> Path:
    """The user's folder of what can be made again; it may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mmparity"


def known(kind: str, name: str, table: Mapping[str, T], more: str = "") -> T:
    """What has that name, or an error that suggests the closest one."""
    if name in table:
        return table[name]
    like = name.rpartition("/")[2].lower()
    close = difflib.get_close_matches(like, table, n=1, cutoff=0.4)
    hint = f" Closest: {close[0]!r}." if close else ""
    raise MmparityError(
        f"unknown {kind} {name!r}.{hint}{more} Known: {', '.join(table)}."
    )
