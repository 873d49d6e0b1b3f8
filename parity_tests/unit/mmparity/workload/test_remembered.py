# SPDX-License-Identifier: Apache-2.0
"""A digest is remembered for files that stay as they are, and for no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mmparity.errors import MmparityError
from mmparity.workload.checkpoint import weights_digest
from mmparity.workload.models import MODELS, Model
from mmparity.workload.remembered import MOST, remembered_digest
from mmparity.workload.seeded import seeded_checkpoint
from mmparity.workload.tower_config import read_vision_config, with_depth

LONG_AGO = time.time() - 3600
TINY = {
    "depth": 4,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "out_hidden_size": 24,
    "fullatt_block_indexes": [1],
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmparity" / "weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(MODELS, "tiny", Model("tiny", "qwen2_5_vl", TINY, "made up"))
    folder = seeded_checkpoint(tmp_path / "made", "tiny")
    for file in folder.iterdir():
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder


def test_it_is_the_digest_whether_it_was_known_or_not(
    cache: Path, folder: Path
) -> None:
    config = read_vision_config(folder)
    exact = weights_digest(folder, config)
    assert remembered_digest(folder, config) == exact
    (kept,) = cache.iterdir()
    assert kept.read_text() == exact
    kept.write_text("0" * 64)
    assert remembered_digest(folder, config) == "0" * 64  # so it was not taken again
    kept.write_text("cut off")
    assert remembered_digest(folder, config) == exact


def test_another_time_of_a_file_is_another_checkpoint(
    cache: Path, folder: Path
) -> None:
    config = read_vision_config(folder)
    before = remembered_digest(folder, config)
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    next(iter(tensors.values())).neg_()
    save_file(tensors, file, metadata={"format": "pt"})
    os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))
    assert remembered_digest(folder, config) == weights_digest(folder, config) != before


def test_files_that_may_be_written_again_are_not_remembered(
    cache: Path, folder: Path
) -> None:
    os.utime(folder / "config.json")
    remembered_digest(folder, read_vision_config(folder))
    assert not cache.exists()


def test_what_is_refused_stays_refused(cache: Path, folder: Path) -> None:
    config = read_vision_config(folder)
    next(folder.glob("*.safetensors")).unlink()
    for _ in range(2):
        with pytest.raises(MmparityError):
            remembered_digest(folder, config)


def test_another_depth_is_another_digest_and_the_oldest_go(
    cache: Path, folder: Path
) -> None:
    config = read_vision_config(folder)
    cache.mkdir(parents=True)
    for number in range(MOST):
        (cache / str(number)).touch()
        os.utime(cache / str(number), (number, number))
    digests = {remembered_digest(folder, with_depth(config, d)) for d in (2, 4)}
    assert len(digests) == 2
    assert len(list(cache.iterdir())) == MOST
    assert not (cache / "1").exists()


def test_where_nothing_can_be_kept_the_digest_is_told_all_the_same(
    cache: Path, folder: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("no folder")  # so no file can be written in it
    config = read_vision_config(folder)
    assert remembered_digest(folder, config) == weights_digest(folder, config)
