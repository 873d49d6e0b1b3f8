# SPDX-License-Identifier: Apache-2.0
"""Changes that change nothing: an implementation says so by itself.

`make mutants` does the same with every implementation and family.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness_checks.mutants.catalogue import edited_files, read_catalogue
from harness_checks.transforms.changes import TRANSFORMS
from harness_checks.transforms.run import broken, subjects
from mmparity.workload.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from conftest import Captures

PLANTED = {
    "kv-heads-repeated-as-if-grouped": {"heads_permuted"},
    "frames-of-a-clip-see-each-other": {"clip_as_images", "windows_that_hold_all"},
    "patch-channels-bgr": {"channels_permuted"},
}
"""Bugs of the catalogue, and the changes that each of them breaks."""


def test_every_implementation_is_given_every_change() -> None:
    assert len(TRANSFORMS) >= 8
    pinned = {name for name, item in IMPLEMENTATIONS.items() if not item.optional}
    assert {name for name, _ in subjects()} == pinned


@pytest.mark.parametrize("implementation", ["unified", "unified-ascend", "hf"])
def test_what_changes_nothing_changes_no_result(
    captures: Captures, implementation: str, tmp_path: Path
) -> None:
    trees = captures.trees(implementation)
    starter = captures.starter
    assert broken(implementation, "qwen2_5_vl", trees, tmp_path, starter) == {}


def test_planted_bugs_break_what_they_must_and_nothing_else(
    captures: Captures, tmp_path: Path
) -> None:
    planted = [mutant for mutant in read_catalogue() if mutant.name in PLANTED]
    assert len(planted) == len(PLANTED)
    trees = captures.trees("unified")
    texts = {
        str(path.relative_to(trees["vllm"])): after
        for path, _, after in edited_files(planted, trees)
    }
    trees["vllm"] = captures.tree_with(trees["vllm"], texts, tmp_path / "tree")
    found = broken("unified", "qwen2_5_vl", trees, tmp_path, captures.starter)
    assert set(found) == set().union(*PLANTED.values())
