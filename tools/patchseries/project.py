# SPDX-License-Identifier: Apache-2.0
"""Where the project keeps things, and the lock that commands share."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patchseries.errors import PatchseriesError


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


@contextmanager
def locked(folder: Path, patience_s: float = 30.0) -> Iterator[None]:
    """Hold `folder` against other patchseries processes.

    The lock lies on the folder itself and ends with the process, so that a killed
    command leaves nothing behind.
    """
    handle = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + patience_s
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PatchseriesError(
                        "busy",
                        f"another patchseries command works on {folder}",
                        "wait for it to end, then try again",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
