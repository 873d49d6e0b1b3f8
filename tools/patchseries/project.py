# SPDX-License-Identifier: Apache-2.0
"""Where the project keeps things."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """The folders of one checkout of this project."""

    root: Path

    @classmethod
    def here(cls) -> Project:
        """The checkout that this file belongs to."""
        return cls(Path(__file__).resolve().parents[2])

    @property
    def patches(self) -> Path:
        return self.root / "patches"

    @property
    def trees(self) -> Path:
        return self.root / "vllm_src"

    @property
    def patched(self) -> Path:
        return self.trees / "patched"

    @property
    def pins(self) -> Path:
        return self.trees / "sources.toml"

    def pristine(self, tree: str) -> Path:
        """The unchanged tree `tree`, whether or not it was fetched."""
        return self.trees / tree

    def objects(self, tree: str) -> Path:
        """The object folder of the pristine tree `tree`."""
        return self.pristine(tree) / ".git" / "objects"


def cache_folder() -> Path:
    """Downloads, outside of every checkout."""
    own = os.environ.get("PATCHSERIES_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "patchseries"
