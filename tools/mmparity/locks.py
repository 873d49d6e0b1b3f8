# SPDX-License-Identifier: Apache-2.0
"""Folders that one command at a time writes into.

The lock ends with the process that has it, however that ends; what stands beside it
only says who that is.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmparity import provenance
from mmparity.errors import MmparityError
from mmparity.files import cannot_write, write_text

LOCK, HOLDER = ".mmparity.lock", ".mmparity.holder"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps the folder for this process; another one's is refused at once.

    A folder that was not there and in which nothing was written goes again. Raises
    MmparityError where another process has it.
    """
    folder = Path(folder)
    new = not folder.exists()
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        if not isinstance(error, Timeout):
            raise cannot_write(folder, error) from error
        raise MmparityError(
            f"{folder} is in use by {_holder(folder)}. Wait for it to end, or give "
            "another --out."
        ) from None
    try:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": provenance.command(),
            "since": provenance.now(),
        }
        write_text(folder / HOLDER, json.dumps(about) + "\n")
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        if new and [file.name for file in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
        lock.release()


def _holder(folder: Path) -> str:
    """Who has it, as far as that can be read."""
    try:
        about = json.loads((folder / HOLDER).read_text())
        pid, since, command = (str(about[n]) for n in ("pid", "since", "command"))
        host = "" if about["host"] == socket.gethostname() else f" on {about['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return f"process {pid}{host} since {since}: {command}"
