# SPDX-License-Identifier: Apache-2.0
"""What ends a writer leaves the old or the new, and several writers make one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from mmparity import files
from mmparity.errors import MmparityError
from mmparity.files import make_folder, write_text, write_together
from mmparity.trace.writer import TraceWriter
from mmparity.workload.cases import Case, Noise
from mmparity.workload.inputs import write_inputs
from mmparity.workload.seeded import write_seeded_checkpoint

if TYPE_CHECKING:
    from conftest import Sides

TOOLS = Path(files.__file__).parents[1]
MAKE = """
import os, sys, time
from pathlib import Path
from mmparity.files import make_folder

folder, log = Path(sys.argv[1]), Path(sys.argv[2])

def write(partial):
    with log.open("a") as stream:
        stream.write(f"{os.getpid()}\\n")
    (partial / "half").touch()
    print("half", flush=True)
    sys.stdin.readline()
    (partial / "other half").touch()

make_folder(folder, (folder / "other half").is_file, write)
"""


def maker(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(folder), str(folder.parent / "log")],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_makes_a_folder_and_the_other_waits(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"
    first = maker(folder)
    assert first.stdout and first.stdout.readline() == "half\n"
    second = maker(folder)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1)
    assert not folder.exists()
    first.communicate("\n")
    second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "log").read_text() == f"{first.pid}\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "log"]


def test_what_a_killed_process_left_is_no_folder_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    process = maker(folder)
    assert process.stdout and process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not folder.exists()
    assert len(list(tmp_path.iterdir())) == 3
    make_folder(folder, folder.is_dir, lambda partial: (partial / "new").touch())
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "log"]


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    def full(partial: Path) -> None:
        (partial / "half").touch()
        raise OSError(28, "No space left on device")

    said = (
        r"folder cannot be written to: No space left on device\. [\d,]+ bytes are free"
    )
    with pytest.raises(MmparityError, match=said):
        make_folder(tmp_path / "folder", lambda: False, full)
    assert list(tmp_path.iterdir()) == []


def test_text_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new" / "file", "old \N{GREEK SMALL LETTER ALPHA}\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "half \ud800")
    assert file.read_bytes() == "old \N{GREEK SMALL LETTER ALPHA}\n".encode()
    assert list(file.parent.iterdir()) == [file]


def test_of_files_that_belong_together_none_is_replaced_before_all_are_written(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_together({first: "old", second: "old"})
    said = r"second cannot be written to: .* or name another pair, on another disk\."
    with no_room_after(50_000), pytest.raises(MmparityError, match=said):
        write_together({first: "new", second: "x" * 100_000}, "another pair")
    assert [file.read_text() for file in (first, second)] == ["old", "old"]
    assert sorted(tmp_path.iterdir()) == [first, second]


@contextmanager
def no_room_after(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _inputs(folder: Path) -> None:
    write_inputs(Case("noise", "", (Noise((1, 8, 8), 0),)), folder)


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (lambda folder: write_text(folder / "file", "x" * 100_000), "file"),
        (_inputs, "noise.safetensors"),
        (lambda folder: write_seeded_checkpoint(folder / "seeded", depth=2), "seeded"),
    ],
    ids=["text", "pixels", "checkpoint"],
)
def test_a_full_disk_is_one_sentence_with_what_is_free(
    tmp_path: Path, write: Callable[[Path], object], place: str
) -> None:
    said = rf"{tmp_path / place} cannot be written to: .*File too large.* [\d,]+ bytes"
    with no_room_after(50_000), pytest.raises(MmparityError, match=said) as caught:
        write(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / place).exists()


@pytest.mark.parametrize("kept", [False, True], ids=["soon read", "kept"])
@pytest.mark.parametrize("size", [50_000, 5 << 20], ids=["at the end", "on the way"])
def test_a_full_disk_leaves_no_half_trace(
    sides: Sides, tmp_path: Path, kept: bool, size: int
) -> None:
    folder = tmp_path / "trace"
    said = rf"{folder} cannot be written to: File too large\. [\d,]+ bytes are free"
    with (
        no_room_after(size),
        pytest.raises(MmparityError, match=said),
        TraceWriter(folder, sides.old_meta, kept) as writer,
    ):
        for number in range(8):
            writer.add(f"blocks.0.{number}", torch.zeros(1 << 20), "x")
            if size < 1 << 20:
                break
    assert not folder.exists()
