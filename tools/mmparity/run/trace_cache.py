# SPDX-License-Identifier: Apache-2.0
"""A folder of traces, each named by the digest of all that makes it what it is.

An entry is renamed into place when it is whole, and its files are shared with the run
that made or takes it (hard links; copies between file systems). Nothing is locked:
whoever takes a trace checks what it got, and an entry that another run drops is a miss.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from blake3 import blake3

from mmparity.capture.finished import first_difference
from mmparity.errors import MmparityError
from mmparity.trace.format import FILE_NAME
from mmparity.trace.manifest import MANIFEST

KEY = "key.json"
"""What the digest is of; its time is that of the last use."""
NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
LEFT_OVER = re.compile(r"\.[0-9a-f]{32}\.[0-9a-f]{16}", re.ASCII)
LEFT_OVER_SECONDS = 3600.0
"""Older folders of a run that was killed go."""
NOT_THERE = "none in the cache yet"
ALIKE = ("implementation", "case", "dtype")
"""Of the entry that a missing one is compared with."""

Fields = Mapping[str, Any]


class CacheFull(MmparityError):
    """There is no room for a trace."""


class Cache:
    """The folder, as one run uses it.

    ``limit`` is its greatest size in bytes; what this run used stays. ``reserve`` is
    what the run may still need of the disk.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit, self.reserve = Path(folder).resolve(), limit, 0
        self._used: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = sorted(file.name for file in self.folder.iterdir())
        except OSError as error:
            raise MmparityError(f"--cache {folder}: {error}") from error
        for name in names:
            if not (NAME.fullmatch(name) or name.startswith(".")):
                raise MmparityError(
                    f"--cache {folder} holds {name}, which is no part of a cache. "
                    "Give an empty folder, or one that --cache filled."
                )
        self._remove_left_overs()

    def take(self, fields: Fields, out: Path) -> str | None:
        """Puts the trace into ``out``, unchecked; when it was captured, or None."""
        entry = self.folder / digest_of(fields)
        shutil.rmtree(out, ignore_errors=True)
        try:
            before = _identity(entry)
            if _read_key(entry) != _plain(fields):
                return None
            _share(entry, out)
            if _identity(entry) != before:  # dropped meanwhile: files may be missing
                raise FileNotFoundError(errno.ENOENT, "no longer there", str(entry))
            os.utime(entry / KEY)
            captured = (out / MANIFEST).stat().st_mtime
        except OSError:
            shutil.rmtree(out, ignore_errors=True)
            return None
        self._used.add(entry.name)
        time_of = datetime.fromtimestamp(captured, timezone.utc)
        return time_of.isoformat(timespec="seconds")

    def put(self, fields: Fields, trace: Path) -> None:
        """Keeps a whole trace, in place of what is there under its name.

        Raises CacheFull or OSError; then nothing has changed.
        """
        name = digest_of(fields)
        self._make_room(_size(trace), trace)
        scratch = self.folder / f".{name}.{secrets.token_hex(8)}"
        try:
            _share(trace, scratch)
            (scratch / KEY).write_text(json.dumps(fields, sort_keys=True))
            self.drop(name)
            scratch.rename(self.folder / name)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # else another run was faster
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._used.add(name)

    def drop(self, name: str) -> None:
        """Removes an entry, if it is there."""
        gone = self.folder / f".{name}.{secrets.token_hex(8)}"
        try:
            (self.folder / name).rename(gone)
        except OSError:
            return
        shutil.rmtree(gone, ignore_errors=True)
        self._used.discard(name)

    def why_missing(self, fields: Fields) -> str:
        """What differs in the nearest entry of the same encoder, case and dtype."""
        here = _plain(fields)
        differing: list[tuple[int, str]] = []
        for entry in self._entries():
            there = _read_key(entry)
            if all(there.get(name) == here[name] for name in ALIKE):
                count = sum(there.get(name) != here[name] for name in here)
                text = first_difference(there, here)
                known = text is not None and text.isprintable()
                differing.append((count, f"other {text}" if known else "damaged"))
        return min(differing)[1] if differing else NOT_THERE

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(map(_size, self._entries()))

    def _entries(self) -> list[Path]:
        try:
            return [f for f in self.folder.iterdir() if NAME.fullmatch(f.name)]
        except OSError:
            return []

    def _make_room(self, needed: int, trace: Path) -> None:
        """Drops what was not used for the longest time; CacheFull where that fails."""
        sizes = {entry: _size(entry) for entry in self._entries()}
        held = sum(sizes.values())
        for entry in sorted(sizes, key=_last_use):
            if held + needed > self.limit and entry.name not in self._used:
                self.drop(entry.name)
                held -= sizes[entry]
        if held + needed > self.limit:
            raise CacheFull(f"its limit is {self.limit / 2**30:.1f} GiB")
        free = shutil.disk_usage(self.folder).free
        shared = self.folder.stat().st_dev == trace.stat().st_dev
        wanted = self.reserve if shared else needed
        if free < wanted:
            raise CacheFull(
                f"its disk has {free / 2**30:.1f} GiB free, and "
                + ("the run may still need" if shared else "a trace takes")
                + f" {wanted / 2**30:.1f} GiB"
            )

    def _remove_left_overs(self) -> None:
        for folder in self.folder.iterdir():
            if LEFT_OVER.fullmatch(folder.name):
                age = time.time() - _modified(folder)
                if age > LEFT_OVER_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def digest_of(fields: Fields) -> str:
    """The name of the entry of what has these fields."""
    text = json.dumps(fields, sort_keys=True)
    return blake3(text.encode()).hexdigest(16)


def _share(source: Path, target: Path) -> None:
    """Links a trace's files, or copies them; ``trace.json`` comes last."""
    target.mkdir(parents=True)
    names = [f.name for f in source.iterdir() if FILE_NAME.fullmatch(f.name)]
    for name in (*sorted(names), MANIFEST):
        try:
            os.link(source / name, target / name, follow_symlinks=False)
        except OSError:
            shutil.copy2(source / name, target / name, follow_symlinks=False)


def _identity(folder: Path) -> tuple[int, int]:
    """Of the folder that has this name now; renaming one changes its own."""
    info = folder.stat()
    return info.st_ino, info.st_ctime_ns


def _plain(fields: Fields) -> Any:
    """As it is read back: without tuples."""
    return json.loads(json.dumps(fields))


def _read_key(entry: Path) -> Fields:
    """What an entry is of; empty where that cannot be read."""
    try:
        found = json.loads((entry / KEY).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _last_use(entry: Path) -> float:
    return _modified(entry / KEY)


def _size(folder: Path) -> int:
    try:
        return sum(file.lstat().st_size for file in folder.iterdir())
    except OSError:
        return 0  # another run has just dropped it
