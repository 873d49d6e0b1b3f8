# SPDX-License-Identifier: Apache-2.0
"""The worked example of docs/adding-an-encoder.md, as it stands there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmparity.cli import main
from mmparity.trace.reader import TraceReader
from mmparity.workload.implementations import ENCODERS, IMPLEMENTATIONS
from mmparity.workload.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "adding-an-encoder.md"
SMALL = ("--model", "toy", "--grid", "1,8,12", "--dtype", "float32")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file, in a folder of its own; what it adds is taken away again."""
    code = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert len(code) == 1
    file = tmp_path / "layers.py"
    file.write_text(code[0])
    monkeypatch.setenv(ENCODERS, "")
    monkeypatch.chdir(tmp_path)
    yield file
    IMPLEMENTATIONS.pop("layers", None)
    MODELS.pop("toy", None)


def mmparity(example: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--encoder", str(example), *words])


def test_one_file_adds_an_implementation_and_a_model(example: Path) -> None:
    listed = mmparity(example, "list", "hook-points", "--impl", "layers", "--json")
    names = json.loads(listed.stdout)
    assert names["blocks.{i}.attn.proj"] == "layers.{i}.attn.proj output"
    words = ("run", "--old", "layers", "--new", "layers", *SMALL, "--json")
    done = mmparity(example, *words)
    (case,) = json.loads(done.stdout)["cases"]
    assert (done.exit_code, case["verdict"]) == (0, "pass"), case["reason"]
    assert len(case["layers"]) == 42
    paths = {row["hook_point"]: row["new_path"] for row in case["layers"]}
    assert paths["blocks.1.attn.proj"] == "layers.1.attn.proj"
    errors = [row["metrics"]["new_oracle_error"] for row in case["layers"]]
    assert 0 < max(error for error in errors if error is not None) < 1e-5


def test_a_name_map_that_forgets_a_module_fails(example: Path) -> None:
    text = example.read_text()
    whole = "modules={renamed(path): rule for path, rule in given.modules.items()},"
    forgets = whole.replace("given.modules.items()", "list(given.modules.items())[:-1]")
    assert whole in text
    example.write_text(text.replace(whole, forgets))
    done = mmparity(example, "capture", "layers", *SMALL, "--out", "out")
    assert done.exit_code == 0, done.output
    trace = TraceReader(Path(done.stdout.strip()) / "toy/grid-1x8x12-float32")
    undeclared = {item.path for item in trace.unmatched if not item.explained}
    assert {"layers.0.mlp.down_proj", "blocks.0.mlp.down_proj"} <= undeclared


def test_a_file_that_declares_nothing_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENCODERS, "")
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    done = mmparity(file, "list", "implementations")
    assert done.exit_code == 2
    assert "declares IMPLEMENTATIONS and hook_map" in done.stderr
    done = mmparity(tmp_path / "absent.py", "list", "implementations")
    assert (done.exit_code, "is no Python file" in done.stderr) == (2, True)
