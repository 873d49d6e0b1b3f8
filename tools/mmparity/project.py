# SPDX-License-Identifier: Apache-2.0
"""Where this project keeps things, and names that must be known."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from mmparity.errors import MmparityError

T = TypeVar("T")
_CHECKOUT = Path(__file__).resolve().parents[2]
_BUNDLE = Path(__file__).resolve().parents[1] / "vllm_encoder_parity"
"""In an installed package: what a checkout has beside its code."""


def user_cache() -> Path:
    """The user's folder of what can be made again; it may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mmparity"


def _user_data() -> Path:
    """Where `patchseries` of an installed package keeps its trees too."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(data) / "vllm-encoder-parity"


INSTALLED = _BUNDLE.is_dir()
"""Whether this is a package without its checkout."""
ROOT = _user_data() if INSTALLED else _CHECKOUT
"""Where trees, checkpoints and builds are."""
PATCHES = (_BUNDLE if INSTALLED else _CHECKOUT) / "patches"
SOURCES = ROOT / "vllm_src"
_MAKES = {
    "make setup": "pip install 'vllm-encoder-parity[encoders]'",
    "make sources": "patchseries fetch",
    "make apply": "patchseries fetch && patchseries apply",
}


def remedy(target: str) -> str:
    """The command that makes what is missing: a target of make, or a package's way."""
    return _MAKES[target] if INSTALLED else target


def environment_python(name: str) -> Path:
    """The Python of an environment beside this one; it may not be there yet."""
    return ROOT / f".venv-{name}" / "bin" / "python"


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
