# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all, whatever ends the writer."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from mmparity.errors import MmparityError


def partial_of(file: Path) -> Path:
    """Where a file is while it is written; a killed writer leaves that."""
    return file.with_name(f"{file.name}.partial")


def write_text(file: Path, text: str) -> Path:
    """Writes the file in UTF-8, in place of what is there; returns its path."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(file)
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return file


def make_folder(
    folder: Path, is_whole: Callable[[], bool], write: Callable[[Path], None]
) -> None:
    """Has ``write`` fill the folder, unless ``is_whole`` says that it is there.

    Of several processes one writes and the others wait for it. What a killed one left
    goes, and so does a folder that is not whole. Raises MmparityError where it cannot
    be written.
    """
    if is_whole():
        return
    lock = folder.with_name(f".{folder.name}.lock")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not is_whole():
                    shutil.rmtree(partial, ignore_errors=True)
                    partial.mkdir()
                    write(partial)
                    if folder.exists():
                        shutil.rmtree(folder)
                    partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
                with contextlib.suppress(OSError):
                    lock.unlink()
    except OSError as error:
        raise MmparityError(f"cannot write {folder}: {error}") from error
