# SPDX-License-Identifier: Apache-2.0
"""Files and folders that change as a whole, and never over what somebody else put.

Where Linux can, two files change places in one step (renameat2), so that there is no
moment without either. Elsewhere, NFS for one, such a moment exists, and `settle` mends
what a process that ends in it leaves behind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchseries.errors import GitError, PatchseriesError, as_refusal

_NO_REPLACE, _EXCHANGE, _HERE = 1, 2, -100
_LITTLE = 8 << 20  # bytes: less than what the larger files of a switch need
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_NO_LINKS = (*_UNKNOWN, errno.EPERM, errno.EMLINK)


def write_whole(path: Path, content: bytes | str) -> bool:
    """Write a file under another name and put it in its place.

    Returns:
        Whether anything changed: the same content is not written again.
    """
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return False
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def read_utf8(path: Path) -> str:
    """A text file, refused by name when it is in another encoding."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PatchseriesError(
            "not-utf8", f"{path} is not UTF-8: {error}", "save it as UTF-8"
        ) from None


@contextmanager
def disk_errors(*folders: Path) -> Iterator[None]:
    """Say by name what the system finds of a disk, and git in its own words.

    Args:
        folders: where the block writes.
    """
    try:
        yield
    except OSError as error:
        raise as_refusal(error) from None
    except GitError as error:
        full = [folder for folder in folders if _is_full(folder)]
        if error.code != "git-failed" or not full:
            raise
        raise PatchseriesError(
            "disk-full",
            f"no space is left in {full[0]}: {error.args[0]}",
            "free some space, then run the command again",
        ) from None


def _is_full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LITTLE


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled; it takes the place of `path` when the block ends well.

    Raises:
        PatchseriesError: the disk is full or cannot be written; nothing is left.
    """
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with disk_errors(path.parent):
            partial.mkdir(parents=True)
            yield partial
            if path.is_symlink():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def missing_folders(root: Path, files: Iterable[str]) -> list[str]:
    """The folders that have to be made for these files, outermost first."""
    missing: dict[str, None] = {}
    for path in files:
        for parent in reversed(list(Path(path).parents)[:-1]):
            if not (root / parent).exists():
                missing[str(parent)] = None
    return list(missing)


def remove_own_folder(path: Path) -> None:
    """Remove a folder that we made, with the byte code that Python put there."""
    cache = path / "__pycache__"
    if path.is_dir() and [p.name for p in path.iterdir()] == ["__pycache__"]:
        shutil.rmtree(cache, ignore_errors=True)
    remove_if_empty(path)


def drop_empty(root: Path, deleted: Iterable[str]) -> None:
    """Remove the folders that are empty without these files."""
    for path in deleted:
        for parent in list(Path(path).parents)[:-1]:
            remove_own_folder(root / parent)


def remove_if_empty(path: Path) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        path.rmdir()


def flip(place: Path, shelf: Path) -> None:
    """What is on the shelf comes into place, and what is in place onto the shelf.

    Either may be empty. Nothing is replaced: a file that appears meanwhile stays, and
    the call raises FileExistsError.
    """
    if not os.path.lexists(shelf):
        if os.path.lexists(place):
            shelf.parent.mkdir(parents=True, exist_ok=True)
            _move(place, shelf)
    elif os.path.lexists(place):
        _exchange(place, shelf)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        _move(shelf, place)


def settle(place: Path, shelf: Path) -> None:
    """Take a `flip` that was cut off to one of its ends."""
    if os.path.lexists(place) and os.path.lexists(shelf):
        one, two = place.lstat(), shelf.lstat()
        if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
            shelf.unlink()
    aside = _aside(shelf)
    if os.path.lexists(aside):
        if not os.path.lexists(place):
            aside.rename(place)
        elif not os.path.lexists(shelf):
            aside.rename(shelf)
        else:  # saved again at its place in that moment: newer than what is aside
            aside.unlink()


def _exchange(place: Path, shelf: Path) -> None:
    try:
        _rename(place, shelf, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        aside = _aside(shelf)
        place.rename(aside)
        try:
            _move(shelf, place)
        finally:
            settle(place, shelf)


def _move(source: Path, goal: Path) -> None:
    """A rename that replaces nothing."""
    try:
        _rename(source, goal, _NO_REPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        try:
            os.link(source, goal, follow_symlinks=False)
        except OSError as no_link:
            if no_link.errno not in _NO_LINKS:
                raise
            if os.path.lexists(goal):
                raise FileExistsError(errno.EEXIST, "exists", str(goal)) from None
            source.rename(goal)
        else:
            source.unlink()


def _rename(source: Path, goal: Path, flags: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, "no renameat2")
    if function(_HERE, os.fsencode(source), _HERE, os.fsencode(goal), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(goal))


def _aside(shelf: Path) -> Path:
    return shelf.with_name(f".{shelf.name}.patchseries-aside")
