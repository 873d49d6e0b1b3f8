# SPDX-License-Identifier: Apache-2.0
"""Where this project keeps things, and names that must be known."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from mmparity.errors import MmparityError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "vllm_src"


def user_cache() -> Path:
    """The user's folder of what can be made again; it may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mmparity"


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """The name, or an error that suggests the closest one."""
    names = list(names)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Closest: {close[0]!r}." if close else ""
    raise MmparityError(
        f"unknown {kind} {name!r}.{hint} `mmparity list {kind}s` shows all "
        f"({', '.join(names)})."
    )
