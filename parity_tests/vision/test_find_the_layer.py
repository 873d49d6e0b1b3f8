# SPDX-License-Identifier: Apache-2.0
"""The hunt of docs/find-the-layer.md, command by command, on a smaller image."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import zip_longest
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmparity.cli import main
from mmparity.fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/find-the-layer.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [block for language, block in FENCED if not language]
SHOWN = [block for language, block in FENCED if language == "text"]


def follow(block: str, forks: ForkServer) -> tuple[int, str]:
    """Runs the commands of a block here; exit code and output of the last."""
    code, output = 0, ""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words[0] == ".venv/bin/mmparity":
            small = " ".join(words[1:]).replace("--case image", "--grid 1,8,12")
            done = CliRunner().invoke(main, small.split(), obj=forks)
            code, output = done.exit_code, done.output
        else:
            subprocess.run(words, check=True)
    return code, output


def summary(output: str) -> str:
    """What a command says at its end, after how far it was."""
    found = re.search(r"^(PASS|FAIL) ", output, re.MULTILINE)
    assert found is not None, output
    return output[found.start() :]


def comparable(text: str) -> list[str]:
    """Its lines as they are on any image: no counts, no values, no cut ends."""
    named = text.replace("grid-1x8x12", "image")
    lines = (re.sub(r"-?\d[\d.]*(e-?\d+)?", "#", line) for line in named.splitlines())
    return [line.partition("…")[0].strip() for line in lines if line.strip()]


def alike(one: str, other: str) -> bool:
    """Whether both are one line, which may be cut earlier in one of them."""
    least = min(len(one), len(other))
    return one == other or (least >= 20 and one[:least] == other[:least])


def assert_same_lines(shown: str, said: str) -> None:
    """What a page shows is what was said: each line, in this order, and no other."""
    pairs = list(zip_longest(comparable(shown), comparable(said), fillvalue=""))
    assert [pair for pair in pairs if not alike(*pair)] == []


def test_the_hunt_goes_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> None:
    (tmp_path / "vllm_src").symlink_to(ROOT / "vllm_src")
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    plant, hunt, mend = BLOCKS
    follow(plant, forks)
    code, said = follow(hunt, forks)
    assert code == 1, said
    assert_same_lines(SHOWN[0], summary(said))
    report = (tmp_path / "build/hunt/report.html").read_text()
    for line in SHOWN[1].splitlines():
        assert line in report, line
    code, said = follow(mend, forks)
    assert code == 0, said
    assert_same_lines(SHOWN[2], summary(said))
