# SPDX-License-Identifier: Apache-2.0
"""Tensors of a trace, read by a thread while an encoder computes their partners.

The thread waits for the disk and leaves digests to its reader: at work, it would take a
core from the encoder's threads, which wait at work for each other.
"""

from __future__ import annotations

import json
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from mmparity.appended import DIRECT
from mmparity.tracefile import DTYPES, TraceReader
from mmparity.types import TensorRecord

_Read = tuple[memoryview, dict[str, Any]]


class Room:
    """Memory for one part of a file at a time; used again, and grown as needed."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def read(self, file: Path, start: int, size: int) -> memoryview:
        """The bytes, until the next call. EOFError where the file is shorter."""
        skipped = start % mmap.PAGESIZE
        pages = -(-(skipped + size) // mmap.PAGESIZE)
        if len(self._memory) < pages * mmap.PAGESIZE:
            self._memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
        room = memoryview(self._memory)[: pages * mmap.PAGESIZE]
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        try:
            got = _fill(file, flags | DIRECT, room, start - skipped)
        except OSError:  # a file system that has no such access, or another reason
            got = _fill(file, flags, room, start - skipped)
        if got < skipped + size:
            raise EOFError(f"it ends after {start - skipped + got} bytes")
        return room[skipped : skipped + size]


class ReadAhead:
    """Reads a trace in its order; the tensor that is likely next is read meanwhile.

    A tensor is whole until another one is asked for.
    """

    def __init__(self, trace: TraceReader) -> None:
        self._trace = trace
        records = [record for record in trace.records if record.file]
        names = [record.hook_point for record in records]
        self._next = dict(zip(names, records[1:], strict=False))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._rooms = Room(), Room()
        self._headers: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._ahead: tuple[str, Future[_Read]] | None = None

    def read(self, hook_point: str) -> torch.Tensor:
        """As ``TraceReader.read``."""
        return self._trace.read(hook_point, self._tensor)

    def close(self) -> None:
        """Ends the thread."""
        self._pool.shutdown()

    def _tensor(self, record: TensorRecord) -> torch.Tensor:
        name = record.hook_point
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != name:
            ahead = name, self._start(record)
        if name in self._next:
            following = self._next[name]
            self._ahead = following.hook_point, self._start(following)
        data, entry = ahead[1].result()
        dtype = DTYPES[entry["dtype"]]
        if not data:
            return torch.empty(entry["shape"], dtype=dtype)
        return torch.frombuffer(data, dtype=dtype).view(entry["shape"])

    def _start(self, record: TensorRecord) -> Future[_Read]:
        self._rooms = self._rooms[::-1]
        return self._pool.submit(self._read, record, self._rooms[0])

    def _read(self, record: TensorRecord, room: Room) -> _Read:
        """A tensor's bytes, and what its file's header says of it."""
        file = self._trace.directory / record.file
        start, entries = self._header(file)
        entry = entries[record.hook_point]
        begin, end = entry["data_offsets"]
        return room.read(file, start + begin, end - begin), entry

    def _header(self, file: Path) -> tuple[int, dict[str, Any]]:
        """Where a file's data starts, and its header."""
        if file not in self._headers:
            safe_open(file, framework="pt")  # checks the header
            with file.open("rb") as opened:
                size = int.from_bytes(opened.read(8), "little")
                self._headers[file] = 8 + size, json.loads(opened.read(size))
        return self._headers[file]


def _fill(file: Path, flags: int, room: memoryview, start: int) -> int:
    """Fills the room from ``start`` on, as far as the file goes; the bytes read."""
    opened = os.open(file, flags)
    try:
        got = 0
        while got < len(room):
            more = os.preadv(opened, [room[got:]], start + got)
            if not more:
                break
            got += more
        return got
    finally:
        os.close(opened)
