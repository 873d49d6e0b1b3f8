# SPDX-License-Identifier: Apache-2.0
"""What ends a writer leaves the old or the new, and several writers make one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmparity import files
from mmparity.errors import MmparityError
from mmparity.files import make_folder, write_text

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

    with pytest.raises(MmparityError, match=r"cannot write \S+folder: .*No space left"):
        make_folder(tmp_path / "folder", lambda: False, full)
    assert list(tmp_path.iterdir()) == []


def test_text_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new" / "file", "old \N{GREEK SMALL LETTER ALPHA}\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "half \ud800")
    assert file.read_bytes() == "old \N{GREEK SMALL LETTER ALPHA}\n".encode()
    assert list(file.parent.iterdir()) == [file]
