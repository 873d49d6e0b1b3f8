# SPDX-License-Identifier: Apache-2.0
"""Where the project keeps things."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from patchseries.files import write_whole
from patchseries.locks import locked

BUNDLE = Path(__file__).resolve().parents[1] / "vllm_encoder_parity"
"""In an installed package: what a checkout has beside its code."""


@dataclass(frozen=True)
class Project:
    """The folders of one checkout of this project."""

    root: Path

    @classmethod
    def here(cls) -> Project:
        """The checkout that this file belongs to; of a package, the user's folder."""
        if not BUNDLE.is_dir():
            return cls(Path(__file__).resolve().parents[2])
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
        project = cls(Path(data) / "vllm-encoder-parity")
        project.root.mkdir(parents=True, exist_ok=True)
        with locked(project.root, patience_s=60):
            _bring(BUNDLE, project.root)
        return project

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

    def environment(self, name: str) -> Path:
        """The virtual environment `name`, whether or not it was made."""
        return self.root / f".venv-{name}"

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


def _bring(bundle: Path, root: Path) -> None:
    """Series and pins of the installed package, in place of those of another."""
    files = sorted(file for file in bundle.rglob("*") if file.is_file())
    names = {file.relative_to(bundle) for file in files}
    for file in files:
        copy = root / file.relative_to(bundle)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, file.read_bytes())
    for old in (root / "patches").glob("*/*"):
        if old.is_file() and old.relative_to(root) not in names:
            old.unlink()
