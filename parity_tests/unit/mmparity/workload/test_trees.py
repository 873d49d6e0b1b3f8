# SPDX-License-Identifier: Apache-2.0
"""Source trees that are missing: all are named, with one command for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmparity.errors import MmparityError
from mmparity.workload import trees
from mmparity.workload.implementations import IMPLEMENTATIONS


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of trees."""
    monkeypatch.setattr(trees, "SOURCES", tmp_path)
    return tmp_path


def make(folder: Path, package: str) -> None:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (("vllm-0.12.0",), "make sources"),
        (("vllm-0.12.0", "unified"), "make apply"),
        (("vllm-0.33.0", "vllm-0.30.0"), "patchseries fetch vllm-0.33.0 vllm-0.30.0"),
        (
            ("vllm-0.33.0", "unified-0.33.0"),
            "patchseries fetch vllm-0.33.0 && patchseries apply",
        ),
        (
            ("vllm-0.12.0", "vllm-0.33.0"),
            "patchseries fetch && patchseries fetch vllm-0.33.0",
        ),
    ],
)
def test_one_command_brings_all_that_is_missing(
    names: tuple[str, ...], command: str
) -> None:
    found, missing = trees.look_for_trees(names, (), IMPLEMENTATIONS)
    assert found == {name: {} for name in names}
    assert trees.command_for(missing) == command
    with pytest.raises(MmparityError) as error:
        trees.find_trees(names, (), IMPLEMENTATIONS)
    for name in names:
        assert f"{name} needs vllm, and " in str(error.value)
    assert f"Run `{command}`, or give --tree {names[0]}:vllm=DIR." in str(error.value)


def test_what_is_there_is_not_asked_for(sources: Path) -> None:
    make(sources / "vllm-0.33.0", "vllm")
    given = f"vllm-0.30.0:vllm={sources / 'mine'}"
    make(sources / "mine", "vllm")
    names = ("vllm-0.33.0", "vllm-0.30.0")
    assert trees.find_trees(names, [given], IMPLEMENTATIONS) == {
        "vllm-0.33.0": {"vllm": str(sources / "vllm-0.33.0")},
        "vllm-0.30.0": {"vllm": str(sources / "mine")},
    }
