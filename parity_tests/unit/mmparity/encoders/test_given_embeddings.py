# SPDX-License-Identifier: Apache-2.0
"""Who declares that Omni takes no embeddings in place of pixels: trees that do not."""

from __future__ import annotations

import re

import pytest

from mmparity.encoders import hook_map, installed
from mmparity.project import PATCHES
from mmparity.workload.implementation import Implementation
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import FAMILIES

OMNI = FAMILIES["qwen2_5_omni"]


def splits(tree: str) -> bool:
    """Whether a tree's Omni splits given embeddings: from 0.33 on, or by a patch."""
    release = re.search(r"vllm-0\.(\d+)\.", tree)
    assert release is not None, tree
    series = PATCHES / tree.removeprefix("patched/") / "series"
    patches = series.read_text().split() if tree.startswith("patched/") else []
    return int(release[1]) >= 33 or "embeddings-without-tower.patch" in patches


@pytest.mark.parametrize(
    "item",
    [i for i in IMPLEMENTATIONS.values() if OMNI.name in i.classes and i.trees],
    ids=lambda item: item.name,
)
def test_omni_is_held_to_given_embeddings_by_trees_that_split_them_only(
    item: Implementation,
) -> None:
    assert bool(hook_map(item, OMNI).no_given) != splits(item.trees["vllm"])
    others = item.classes.keys() - {OMNI.name}
    assert not any(hook_map(item, FAMILIES[name]).no_given for name in others)


@pytest.mark.parametrize(
    ("release", "split"),
    [
        ("0.11.0", False),
        ("0.32.0", False),
        ("0.32.1.dev8+g123", False),
        ("0.33.0", True),
        ("1.0.0", True),
        ("dev", True),
    ],
)
def test_of_an_installed_vllm_its_release_says_so(release: str, split: bool) -> None:
    assert (OMNI.name not in installed.no_given_of(release)) == split
