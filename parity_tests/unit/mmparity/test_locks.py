# SPDX-License-Identifier: Apache-2.0
"""Two commands on one folder: the second is refused at once, and harms nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from PIL import Image

from mmparity.cli import main
from mmparity.errors import MmparityError
from mmparity.locks import HOLDER, held

if TYPE_CHECKING:
    from conftest import Sides

HOLD = (
    "import sys, time; from pathlib import Path; from mmparity.locks import held\n"
    "with held(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(600)"
)
TOOLS = Path(main.callback.__code__.co_filename).parents[1]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has ``tmp_path / "out"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "words",
    [
        "run --old vllm-0.12.0 --new vllm-0.12.0 --depth 2 --case ragged --out OUT",
        "capture hf --depth 2 --case ragged --out OUT",
        "compare OLD NEW --out OUT",
        "floors --measure hf --depth 2 --work OUT --out floors.json",
        "rejudge DONE --out OUT",
        "engine --side vllm-0.12.0 --side unified --requests 0 --out OUT",
        "serve --out OUT",
        "serve-compare --old http://127.0.0.1:9 --new http://127.0.0.1:9 "
        "--images IMAGES --prompts IMAGES/prompts --out OUT",
        "accuracy --out OUT",
    ],
)
def test_a_command_names_the_process_that_has_its_folder(
    sides: Sides, tmp_path: Path, other: subprocess.Popen[str], words: str
) -> None:
    old, new, _ = sides.write()
    done = tmp_path / "done"
    places = {"OUT": tmp_path / "out", "OLD": old, "NEW": new, "DONE": done}
    if "DONE" in words:
        CliRunner().invoke(main, ["compare", str(old), str(new), "--out", str(done)])
    places["IMAGES"] = tmp_path / "images"
    places["IMAGES"].mkdir()
    Image.new("RGB", (8, 8)).save(places["IMAGES"] / "one.png")
    (places["IMAGES"] / "prompts").write_text("What is it?")
    before = sorted((tmp_path / "out").iterdir())
    started = time.monotonic()
    given = re.sub("|".join(places), lambda found: str(places[found[0]]), words)
    result = CliRunner().invoke(main, given.split())
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(
        rf"mmparity: \S+/out is in use by process {other.pid} since "
        r"\d{4}-\d\d-\d\dT\S+: -c \S+/out. Wait for it to end, or give another --out.",
        line,
    )
    assert sorted((tmp_path / "out").iterdir()) == before
    assert time.monotonic() - started < 60


def test_a_report_of_nothing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["report", "no-such"]).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_has_nothing(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    with held(tmp_path / "out"):
        assert str(os.getpid()) in (tmp_path / "out" / HOLDER).read_text()


def test_a_folder_goes_again_only_if_nothing_was_written(tmp_path: Path) -> None:
    with held(tmp_path / "empty"):
        pass
    with held(tmp_path / "used"):
        (tmp_path / "used" / "result").touch()
    with held(tmp_path / "used"):
        (tmp_path / "used" / "result").unlink()
    assert [folder.name for folder in tmp_path.iterdir()] == ["used"]


@pytest.mark.parametrize(
    ("holder", "who"),
    [
        ("", "another process"),
        ("[]", "another process"),
        ('{"pid": 7, "host": "there", "command": "c", "since": "s"}', "7 on there"),
        (
            f'{{"pid": 7, "host": "{socket.gethostname()}", '
            '"command": "c", "since": "s"}',
            "process 7 since s: c",
        ),
    ],
)
def test_who_has_a_folder_is_said_as_far_as_it_is_known(
    tmp_path: Path, holder: str, who: str
) -> None:
    with held(tmp_path):
        (tmp_path / HOLDER).write_text(holder)
        with pytest.raises(MmparityError, match=who), held(tmp_path):
            pass
    with held(tmp_path):
        assert (tmp_path / HOLDER).is_file()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = "file cannot be written to: File exists"
    with pytest.raises(MmparityError, match=said), held(tmp_path / "file"):
        pass
