# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all, whatever ends the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from mmparity.errors import MmparityError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OTHER_OUT = "another folder with --out"
"""What the user can name instead, where the caller says nothing else."""


def cannot_write(
    place: Path, error: Exception, instead: str = OTHER_OUT
) -> MmparityError:
    """What is said of a write that failed: where, why, and what room is left there.

    ``instead`` is what to name in its place, with the option that names it.
    """
    number, why = getattr(error, "errno", None), getattr(error, "strerror", None)
    if number is None:  # what wraps an error of the system still quotes its number
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else None
    text = f"{place} cannot be written to: {why or str(error).splitlines()[0]}. "
    if number not in NO_ROOM:
        return MmparityError(f"{text}Name {instead}.")
    free = free_bytes(place)
    return MmparityError(
        f"{text}{free:,} bytes are free there. Make room, or name {instead}, on "
        "another disk."
    )


def free_bytes(place: Path) -> int:
    """What is free on the disk of a file or folder, which need not be there yet."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free


@contextlib.contextmanager
def writing(place: Path, instead: str = OTHER_OUT) -> Iterator[None]:
    """Raises MmparityError where a write into ``place`` fails."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise cannot_write(place, error, instead) from error


def partial_of(file: Path) -> Path:
    """Where a file is while it is written; a killed writer leaves that."""
    return file.with_name(f"{file.name}.partial")


def write_text(file: Path, text: str) -> Path:
    """Writes the file in UTF-8, in place of what is there; returns its path.

    Raises MmparityError where it cannot be written.
    """
    file = Path(file)
    write_together({file: text})
    return file


def write_together(texts: Mapping[Path, str], instead: str = OTHER_OUT) -> None:
    """Writes files that belong together: none is replaced before all are written.

    Raises MmparityError where one cannot be written.
    """
    partials: dict[Path, Path] = {}
    try:
        for file, text in texts.items():
            with writing(file, instead):
                _refuse_folder(file, texts)
                file.parent.mkdir(parents=True, exist_ok=True)
                partials[file] = partial_of(file)
                partials[file].write_text(text, encoding="utf-8", newline="\n")
        for file, partial in partials.items():
            with writing(file, instead):
                partial.replace(file)
    finally:
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink()


def check_writable(files: Iterable[Path], instead: str = OTHER_OUT) -> None:
    """Raises MmparityError where `write_together` could not write; leaves nothing."""
    files = list(files)
    for file in files:
        for path in (file, partial_of(file)):
            with writing(path, instead):
                _refuse_folder(path, files)
        folder = file.parent
        with (
            writing(folder, instead),
            _there_meanwhile(folder),
            tempfile.TemporaryFile(dir=folder),
        ):
            pass


def _refuse_folder(file: Path, files: Iterable[Path]) -> None:
    """Raises where a folder is, or one of the files needs one, in a file's place."""
    if file.is_dir() or any(file in other.parents for other in files):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


@contextlib.contextmanager
def _there_meanwhile(folder: Path) -> Iterator[None]:
    """Makes a folder and those it is in; those that were not there go again."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in new:
            with contextlib.suppress(OSError):
                place.rmdir()


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
