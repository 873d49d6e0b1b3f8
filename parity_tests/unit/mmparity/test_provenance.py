# SPDX-License-Identifier: Apache-2.0
"""Provenance names pins and patches of the trees that were used."""

from __future__ import annotations

import hashlib
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity import provenance
from mmparity.types.provenance import Source


def test_pins_and_patches_of_the_trees_that_ran(tmp_path: Path) -> None:
    trees = tmp_path / "vllm_src"
    for name in ("vllm-1", "patched/vllm-1"):
        (trees / name).mkdir(parents=True)
    (trees / "sources.toml").write_text(
        '[[source]]\nname = "vllm"\nversion = "1"\n'
        '[[source.archive]]\nfile = "x"\nsha256 = "abc"\ntree = "def"\n'
    )
    series = tmp_path / "patches" / "vllm-1"
    series.mkdir(parents=True)
    (series / "series").write_text("# a comment\none.patch\n")
    (series / "one.patch").write_bytes(b"diff")
    (tmp_path / "fork").mkdir()
    found = provenance.sources(
        tmp_path,
        {
            "old": {"vllm": str(trees / "vllm-1")},
            "new": {"vllm": str(trees / "patched" / "vllm-1")},
            "other": {"vllm": str(tmp_path / "fork")},
        },
    )
    pin = Source("1", "abc", "def")
    digest = hashlib.sha256(b"diff").hexdigest()
    assert found == {
        "vllm-1": pin,
        "patched/vllm-1": replace(pin, patches={"one.patch": digest}),
        "fork": Source(given=True),
    }


def test_machine_names_no_host() -> None:
    machine = provenance.machine()
    assert machine.cpus >= 1
    assert machine.memory_bytes > 1 << 28
    assert platform.node() not in machine.system.split()


def test_own_peak_memory_is_in_bytes() -> None:
    assert 10 << 20 < provenance.own_peak_memory() < 1 << 40


@pytest.mark.parametrize(
    ("file", "decides"),
    [
        ("capture/recorder.py", True),
        ("encoders/npu_emulation/operators.py", True),
        ("trace/layout.py", True),
        ("workload/inputs.py", True),
        ("report/html.py", False),
        ("compare/rows.py", False),
        ("commands/run.py", False),
    ],
)
def test_own_code_is_that_of_the_rooms_that_write_tensors(
    file: str, decides: bool, tmp_path: Path
) -> None:
    package = tmp_path / "mmparity"
    shutil.copytree(Path(provenance.__file__).parent, package)
    before = provenance.own_code(package)
    assert before == provenance.own_code()
    edited = package / file
    edited.write_text(edited.read_text() + "\n# an edit\n")
    assert (provenance.own_code(package) != before) == decides
