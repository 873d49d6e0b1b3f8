# SPDX-License-Identifier: Apache-2.0
"""What is appended is what the file holds, whatever the disk does."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmparity.trace import appender as module
from mmparity.trace.appender import BUFFERS, Appender, pieces

START = 4096
HEADER = b"h" * START


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_BYTES", 8192)


@pytest.fixture(params=[True, False], ids=["direct", "cached"])
def appender(request: pytest.FixtureRequest) -> Iterator[Appender]:
    made = Appender(direct=request.param)
    yield made
    made.close()


def test_files_hold_what_was_appended(appender: Appender, tmp_path: Path) -> None:
    for number, sizes in enumerate([(), (5,), (8192,), (1, 50_000, 3), (16_384, 7)]):
        parts = [os.urandom(size) for size in sizes]
        file = tmp_path / str(number)
        appender.open(file, START)
        for part in parts:
            appender.append(memoryview(part))
        appender.finish(HEADER)
        assert file.read_bytes() == HEADER + b"".join(parts)


def test_memory_is_that_of_a_few_buffers(appender: Appender, tmp_path: Path) -> None:
    appender.open(tmp_path / "file", START)
    appender.append(memoryview(bytes(8192 * BUFFERS * 3)))
    appender.finish(HEADER)
    assert appender._made <= BUFFERS


def test_a_disk_that_does_not_keep_up_gets_its_page_cache_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write

    def slowly(file: int, data: memoryview, place: int) -> None:
        time.sleep(0.02)
        write(file, data, place)

    monkeypatch.setattr(module, "_write", slowly)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.001)
    data = os.urandom(8192 * BUFFERS * 2 + 5)
    appender = Appender(direct=True)
    appender.open(tmp_path / "file", START)
    appender.append(memoryview(data))
    appender.finish(HEADER)
    appender.close()
    assert (tmp_path / "file").read_bytes() == HEADER + data
    assert appender._flags == 0


def test_a_full_disk_is_an_error_of_a_later_call(
    appender: Appender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: memoryview, place: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    appender.open(tmp_path / "file", START)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(3 * BUFFERS):
            appender.append(memoryview(bytes(8192)))
            time.sleep(0.001)
        appender.finish(HEADER)


def test_pieces_are_the_whole() -> None:
    data = os.urandom(3 * module.PIECE_BYTES + 1)
    assert b"".join(pieces(memoryview(data))) == data
