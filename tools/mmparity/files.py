# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all, whatever ends the writer."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from mmparity.errors import MmparityError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot_write(place: Path, error: Exception) -> MmparityError:
    """What is said of a write that failed: where, why, and what room is left there."""
    number, why = getattr(error, "errno", None), getattr(error, "strerror", None)
    if number is None:  # what wraps an error of the system still quotes its number
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else None
    text = f"{place} cannot be written to: {why or str(error).splitlines()[0]}. "
    if number not in NO_ROOM:
        return MmparityError(f"{text}Name another folder with --out.")
    free = free_bytes(place)
    return MmparityError(
        f"{text}{free:,} bytes are free there. Make room, or give --out on another "
        "disk."
    )


def free_bytes(place: Path) -> int:
    """What is free on the disk of a file or folder, which need not be there yet."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raises MmparityError where a write into ``place`` fails."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise cannot_write(place, error) from error


def partial_of(file: Path) -> Path:
    """Where a file is while it is written; a killed writer leaves that."""
    return file.with_name(f"{file.name}.partial")


def write_text(file: Path, text: str) -> Path:
    """Writes the file in UTF-8, in place of what is there; returns its path.

    Raises MmparityError where it cannot be written.
    """
    file = Path(file)
    partial = partial_of(file)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
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
    with writing(folder):
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
