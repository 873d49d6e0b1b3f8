# SPDX-License-Identifier: Apache-2.0
"""Folders that are gone after use, those of killed commands with the next command.

Each has a lock beside it, held while it is in use: a folder whose lock nobody holds was
left by a command that was killed.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.files import disk_errors
from patchseries.git import Git, require_recent_git, write_alternates
from patchseries.locks import locked_file

_PREFIX = "patchseries-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder of our own in the system's folder for such files."""
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{uuid.uuid4().hex}"
    drop_abandoned()
    with locked_file(folder.with_suffix(".lock"), patience_s=30):
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch(*alternates: Path) -> Iterator[Git]:
    """A throw-away bare repository that reads, and never writes, other ones.

    Args:
        alternates: object folders to read from.
    """
    require_recent_git()
    with disk_errors(Path(tempfile.gettempdir())), scratch_folder() as folder:
        git = Git(folder, {"GIT_DIR": str(folder)})
        git("init", "-q", "--bare", "--template=")
        (folder / "objects/info").mkdir(exist_ok=True)
        write_alternates(folder / "objects", alternates)
        yield git


def drop_abandoned() -> None:
    """Remove what killed commands left: nobody holds its lock."""
    made = _PREFIX + "[0-9a-f]" * 32
    parent = Path(tempfile.gettempdir())
    found = {
        path.with_suffix("")
        for end in ("", ".lock")
        for path in parent.glob(made + end)
    }
    for folder in found:
        lock = folder.with_suffix(".lock")
        with suppress(PatchseriesError, OSError), locked_file(lock, patience_s=0):
            shutil.rmtree(folder, ignore_errors=True)
