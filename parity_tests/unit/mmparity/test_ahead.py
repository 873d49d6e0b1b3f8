# SPDX-License-Identifier: Apache-2.0
"""Tensors that are read ahead are those of the trace, in any order."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from mmparity import ahead
from mmparity.ahead import ReadAhead, Room
from mmparity.tracefile import TraceReader, TraceWriter
from mmparity.types import MmparityError

if TYPE_CHECKING:
    from conftest import Sides

PAGE = mmap.PAGESIZE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(random.Random(0).randbytes(5 * PAGE + 100))
    return path


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("start", "size"),
    [(0, PAGE), (0, 1), (7, PAGE), (PAGE - 1, 2), (PAGE, 3 * PAGE), (4, 5 * PAGE + 96)],
)
def test_a_part_of_a_file_is_read_as_it_is(
    file: Path, start: int, size: int, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not direct:
        monkeypatch.setattr(ahead, "DIRECT", 0)
    room = Room()
    assert room.read(file, 3, 5) == file.read_bytes()[3:8]
    assert room.read(file, start, size) == file.read_bytes()[start : start + size]


def test_where_direct_access_fails_the_page_cache_is_used(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ahead.os.open

    def refuse(path: Path, flags: int) -> int:
        if flags & ahead.DIRECT:
            raise OSError(22, "Invalid argument")
        return opened(path, flags)

    monkeypatch.setattr(ahead, "DIRECT", os.O_DIRECT)
    monkeypatch.setattr(ahead.os, "open", refuse)
    assert Room().read(file, 9, 20) == file.read_bytes()[9:29]


def test_a_file_that_ends_before_its_part_is_no_part(file: Path) -> None:
    with pytest.raises(EOFError, match=f"ends after {5 * PAGE + 100} bytes"):
        Room().read(file, 4 * PAGE, PAGE + 101)


@pytest.fixture
def trace(sides: Sides, tmp_path: Path) -> TraceReader:
    generator = torch.Generator().manual_seed(0)
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        for i in range(9):
            shape = (3 + i, 100 * (9 - i))
            tensor = torch.randn(shape, generator=generator)
            dtype = (torch.float32, torch.bfloat16, torch.bool)[i % 3]
            writer.add(f"blocks.{i // 2}.p{i}", tensor.to(dtype), f"visual.{i}")
        writer.add("number", torch.tensor(7), "visual")
        writer.add("empty", torch.empty(0, 4), "visual")
    return TraceReader(tmp_path / "t")


@pytest.fixture
def reading(trace: TraceReader) -> Iterator[ReadAhead]:
    reader = ReadAhead(trace)
    yield reader
    reader.close()


ORDERS = {
    "its order": lambda names: names,
    "backwards": lambda names: names[::-1],
    "every other": lambda names: names[::2],
    "one again and again": lambda names: names[3:4] * 3,
    "any": lambda names: random.Random(1).choices(names, k=40),
}


@pytest.mark.parametrize("order", ORDERS)
def test_tensors_are_the_same_in_any_order(
    trace: TraceReader, reading: ReadAhead, order: str
) -> None:
    names = ORDERS[order]([record.hook_point for record in trace.records])
    for name in names:
        wanted, found = trace.read(name), reading.read(name)
        assert found.dtype == wanted.dtype and torch.equal(found, wanted), name


def test_what_is_damaged_is_an_error_where_it_is_asked_for(
    trace: TraceReader, reading: ReadAhead
) -> None:
    broken = trace.directory / trace.record("blocks.1.p3").file
    data = bytearray(broken.read_bytes())
    data[-1] ^= 1
    broken.write_bytes(data)
    assert torch.equal(reading.read("blocks.1.p2"), trace.read("blocks.1.p2"))
    assert reading.read("blocks.2.p4").shape == (7, 500)
    with pytest.raises(MmparityError, match="does not have the digest"):
        reading.read("blocks.1.p3")


def test_a_name_that_its_file_does_not_have_is_an_error(
    trace: TraceReader, reading: ReadAhead
) -> None:
    first, second = (trace.directory / f"0000{i}.safetensors" for i in range(2))
    assert first.stat().st_size != second.stat().st_size
    trace._files[first.name] = second.stat().st_size
    first.write_bytes(second.read_bytes())
    with pytest.raises(MmparityError, match=r"'blocks\.0\.p0' cannot be read"):
        reading.read("blocks.0.p0")
