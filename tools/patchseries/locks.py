# SPDX-License-Identifier: Apache-2.0
"""Locks that commands hold against each other, and that end with their processes.

A git process inherits them: where a command is killed and the git that it had started
still runs, the next command waits for that too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchseries.errors import PatchseriesError, as_refusal

LOCK_NAME = ".patchseries.lock"
_held: set[int] = set()


def inherited() -> tuple[int, ...]:
    """Descriptors that a process started by this one has to be given."""
    return tuple(_held)


@contextmanager
def locked(folder: Path, patience_s: float = 30.0) -> Iterator[None]:
    """Hold `folder` against other patchseries processes.

    Raises:
        PatchseriesError: another one holds it, or its file system has no locks.
    """
    with locked_file(folder / LOCK_NAME, patience_s):
        yield


@contextmanager
def locked_file(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock file `path`, which is there only while it is held."""
    from filelock import FileLock, Timeout  # not for commands that only read

    mine: list[int] = []
    lock = FileLock(
        path, timeout=patience_s, poll_interval=0.1, on_acquired=mine.append
    )
    try:
        lock.acquire()
    except Timeout:
        raise PatchseriesError(
            "busy",
            f"another patchseries command works on {path.parent}",
            "wait for it to end, then try again",
        ) from None
    except OSError as error:
        code = as_refusal(error).code.replace("system-error", "cannot-lock")
        raise PatchseriesError(
            code,
            f"{path}: {os.strerror(error.errno or 0)}",
            "the folder has to be writable, on a file system with space and locks",
        ) from None
    _held.update(mine)
    try:
        yield
    finally:
        # Whoever waits for the file that goes here sees that it has no name any more.
        path.unlink(missing_ok=True)
        _held.difference_update(mine)
        lock.release()
