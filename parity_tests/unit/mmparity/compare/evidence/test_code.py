# SPDX-License-Identifier: Apache-2.0
"""The code at a failing row, and what was changed in a tree."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.compare.case import compare_traces
from mmparity.compare.evidence.code import MOST_FILES, changes_of, with_text
from mmparity.types.evidence import CodeAt

if TYPE_CHECKING:
    from conftest import Sides

CODE = {
    "visual": "pkg/model.py:9-9",
    "visual.blocks.1": "pkg/model.py:5-6",
    "visual.blocks.1.attn": "pkg/model.py:2-3",
}


def test_a_failing_case_names_the_code_of_both_sides(sides: Sides) -> None:
    sides.new["blocks.1.attn.k"][0, 0, 0] += 1
    sides.old_meta = replace(sides.old_meta, code=CODE)
    # A module without source: the two around it.
    gone = CODE | {"visual.blocks.1.attn": ""}
    sides.new_meta = replace(sides.new_meta, code=gone)
    case = compare_traces(*sides.readers())
    assert [(item.side, item.module, item.first, item.last) for item in case.code] == [
        ("old", "visual.blocks.1.attn", 2, 3),
        ("old", "visual.blocks.1", 5, 6),
        ("new", "visual.blocks.1", 5, 6),
        ("new", "visual", 9, 9),
    ]
    assert case.old_meta is not None and case.old_meta.code == {}


def test_a_case_that_passes_names_none(sides: Sides) -> None:
    sides.old_meta = replace(sides.old_meta, code=CODE)
    assert compare_traces(*sides.readers()).code == ()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder of trees with one of them, a git repository."""
    base = tmp_path / "vllm_src/patched/pkg-1"
    (base / "pkg").mkdir(parents=True)
    (base / "pkg/__init__.py").write_text("")
    (base / "pkg/model.py").write_text("a = 1\ndef f():\n    return a\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run(
            ["git", "-C", base, "-c", "user.name=x", "-c", "user.email=x@y", *command],
            check=True,
        )
    return tmp_path / "vllm_src"


def changed(sources: Path, folder: Path):
    return changes_of("unified:pkg", folder, sources, "patched/pkg-1", 25)


@pytest.fixture
def copy(sources: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sources / "patched/pkg-1", tmp_path / "fork"))


def test_an_edited_copy_is_its_base_and_the_edit(sources: Path, copy: Path) -> None:
    (copy / "pkg/model.py").write_text("a = 2\ndef f():\n    return a\n")
    (copy / "pkg/more.py").write_text("b = 3\n")
    found = changed(sources, copy)
    assert found is not None
    assert (found.base, found.patches, found.count) == ("patched/pkg-1", 25, 2)
    assert [item.file for item in found.files] == ["pkg/model.py", "pkg/more.py"]
    assert "-a = 1\n+a = 2\n" in found.files[0].diff


@pytest.mark.parametrize("setting", ["diff.noprefix", "diff.mnemonicPrefix"])
def test_an_edit_in_the_tree_itself_is_seen_before_it_is_committed(
    sources: Path, setting: str
) -> None:
    base = sources / "patched/pkg-1"
    subprocess.run(["git", "-C", base, "config", setting, "true"], check=True)
    assert changed(sources, base) is None
    (base / "pkg/model.py").write_text("a = 2\n")
    found = changed(sources, base)
    assert found is not None
    assert [item.file for item in found.files] == ["pkg/model.py"]
    assert "+a = 2" in found.files[0].diff


def test_an_unchanged_copy_and_an_unknown_base_say_nothing(
    sources: Path, copy: Path
) -> None:
    assert changed(sources, copy) is None
    assert changes_of("x:pkg", copy, sources, "patched/other", 0) is None


def test_another_release_is_a_number_and_no_thousand_diffs(
    sources: Path, copy: Path
) -> None:
    for number in range(MOST_FILES + 1):
        (copy / f"pkg/m{number}.py").write_text("x\n")
    found = changed(sources, copy)
    assert found is not None
    assert (found.files, found.count) == ((), MOST_FILES + 1)


def test_lines_are_read_of_the_tree_and_of_nothing_outside(copy: Path) -> None:
    place = CodeAt("new", "blocks.0", "pkg/model.py", 2, 3)
    trees = {"other": str(copy / "pkg"), "pkg": str(copy)}
    assert with_text(place, trees).text == "def f():\n    return a"
    (copy.parent / "secret.py").write_text("x\n")
    assert with_text(replace(place, file="../secret.py", first=1), trees).text == ""
