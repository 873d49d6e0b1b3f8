# SPDX-License-Identifier: Apache-2.0
"""Files that grow by appending, written by a thread while an encoder computes.

What is appended is copied to one of a few buffers. Past the page cache, a full one
costs the processor next to nothing: the kernel's copy, and above all finding memory
for it, can take as long as the encoder. A disk that does not keep up gets its page
cache back.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import queue
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

BUFFER_BYTES = 4 << 20
BUFFERS = 4
PATIENCE_SECONDS = 0.1
"""So long a full set of buffers may wait for the disk before the page cache helps."""
PIECE_BYTES = 1 << 18
"""What is read twice, by a digest and by a copy, is in a cache the second time."""
DIRECT = getattr(os, "O_DIRECT", 0)
"""Past the page cache, where there is such access."""


def pieces(data: memoryview) -> Iterator[memoryview]:
    """The bytes in order, in pieces that fit a core's cache."""
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


class Appender:
    """Appends to one file at a time; errors of the disk are raised at a later call.

    ``direct``: past the page cache, for files that are not read again at once.
    """

    def __init__(self, direct: bool) -> None:
        self._flags = DIRECT if direct else 0
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        self._made = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="appended")
        self._writes: list[Future[None]] = []
        self._file = -1
        self._buffer: mmap.mmap | None = None
        self._filled = self._place = 0

    def open(self, path: Path, start: int) -> None:
        """A new file, which is appended to from ``start`` (a whole page) on."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        try:
            self._file = os.open(path, flags | self._flags, 0o666)
        except OSError:  # a file system that has no such access, or another reason
            self._flags = 0
            self._file = os.open(path, flags, 0o666)
        self._place, self._filled = start, 0

    def append(self, data: memoryview) -> None:
        """Copies the bytes; they are written soon."""
        while data:
            if self._buffer is None:
                self._buffer = self._next_buffer()
            taken = min(len(data), BUFFER_BYTES - self._filled)
            self._buffer[self._filled : self._filled + taken] = data[:taken]
            self._filled += taken
            data = data[taken:]
            if self._filled == BUFFER_BYTES:
                self._submit()

    def finish(self, first: bytes) -> None:
        """Writes what is left, then ``first`` at the file's beginning; closes it."""
        self._settle()
        _cache(self._file)  # neither has the length that direct access asks for
        if self._buffer is not None:
            _write(self._file, memoryview(self._buffer)[: self._filled], self._place)
        _write(self._file, memoryview(first), 0)
        self._close()

    def close(self) -> None:
        """Ends the thread; a file that is open stays as it is."""
        with suppress(OSError):
            self._settle()
        self._pool.shutdown()
        self._close()

    def _next_buffer(self) -> mmap.mmap:
        self._settle(wait=False)
        if self._made < BUFFERS and self._free.empty():
            self._made += 1
            return mmap.mmap(-1, BUFFER_BYTES)
        try:
            return self._free.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            self._flags = 0
            _cache(self._file)
            return self._free.get()

    def _submit(self) -> None:
        assert self._buffer is not None
        write = self._pool.submit(
            self._write_buffer, self._file, self._buffer, self._place
        )
        self._writes.append(write)
        self._place += BUFFER_BYTES
        self._buffer, self._filled = None, 0

    def _write_buffer(self, file: int, buffer: mmap.mmap, place: int) -> None:
        try:
            _write(file, memoryview(buffer), place)
        finally:
            self._free.put(buffer)

    def _settle(self, wait: bool = True) -> None:
        """Raises what went wrong in the writes that are done; in all, with ``wait``."""
        while self._writes and (wait or self._writes[0].done()):
            self._writes.pop(0).result()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._filled = 0


def _write(file: int, data: memoryview, place: int) -> None:
    while data:
        try:
            done = os.pwrite(file, data, place)
        except OSError as error:  # of lengths that direct access does not take
            if error.errno != errno.EINVAL or not _cache(file):
                raise
            continue
        data, place = data[done:], place + done


def _cache(file: int) -> bool:
    """Has a file go through the page cache from here on; whether it did not yet."""
    now = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, now & ~DIRECT)
    return bool(now & DIRECT)
