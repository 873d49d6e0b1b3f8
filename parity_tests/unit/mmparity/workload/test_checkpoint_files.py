# SPDX-License-Identifier: Apache-2.0
"""Which file has which tensor: the index decides, and must agree with the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmparity.errors import MmparityError
from mmparity.workload.checkpoint_files import INDEX, stored_tensors


def write(folder: Path, **files: tuple[str, ...]) -> None:
    for name, keys in files.items():
        save_file({key: torch.zeros(1) for key in keys}, folder / f"{name}.safetensors")


def index(folder: Path, name: str = INDEX, **places: str) -> None:
    weight_map = {key: f"{file}.safetensors" for key, file in places.items()}
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))


def found(folder: Path) -> dict[str, str]:
    return {name: file.stem for name, file in stored_tensors(folder).items()}


def test_without_an_index_every_file_counts(tmp_path: Path) -> None:
    write(tmp_path, a=("x",), b=("y",))
    assert found(tmp_path) == {"x": "a", "y": "b"}


@pytest.mark.parametrize("name", [INDEX, "quant_model_weight.safetensors.index.json"])
def test_a_shard_that_was_left_behind_counts_for_nothing(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path, a=("x",), z=("x", "y"))
    index(tmp_path, name, x="a")
    assert found(tmp_path) == {"x": "a"}


def test_the_index_that_vllm_reads_is_before_others(tmp_path: Path) -> None:
    write(tmp_path, a=("x",), z=("x",))
    index(tmp_path, x="a")
    index(tmp_path, "other.safetensors.index.json", x="z")
    assert found(tmp_path) == {"x": "a"}


def test_one_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a=("x",), z=("x",))
    with pytest.raises(MmparityError, match=r"x is in a.safetensors and in z.safete"):
        stored_tensors(tmp_path)
    index(tmp_path, x="a", y="z")
    with pytest.raises(MmparityError, match=r"x is in a.safetensors and in z.safete"):
        stored_tensors(tmp_path)


def test_two_indexes_of_other_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a=("x",))
    for name in "ab":
        index(tmp_path, f"{name}.safetensors.index.json", x="a")
    with pytest.raises(MmparityError, match="has 2 indexes"):
        stored_tensors(tmp_path)


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ({"x": "b", "y": "a"}, "says that x is in b.safetensors, but a.safetensors ha"),
        ({"x": "a", "y": "b", "z": "b"}, "z is in b.safetensors, but no file has it"),
        ({"x": "a", "y": "gone"}, "lists gone.safetensors, which is not there"),
        ({"x": "a"}, None),
        ({"x": "a", "y": "../a"}, "is no name of a"),
        ({"x": "a", "y": "/etc/a"}, "is no name of a"),
        ({}, "has no weight_map"),
    ],
)
def test_an_index_of_other_files_is_refused(
    tmp_path: Path, places: dict[str, str], reason: str | None
) -> None:
    write(tmp_path, a=("x",), b=("y",))
    index(tmp_path, **places)
    if reason is None:
        assert found(tmp_path) == {"x": "a"}
        return
    with pytest.raises(MmparityError, match=reason):
        stored_tensors(tmp_path)


def test_a_tensor_that_a_listed_file_has_beside_the_index_is_refused(
    tmp_path: Path,
) -> None:
    write(tmp_path, a=("x", "y"))
    index(tmp_path, x="a")
    with pytest.raises(
        MmparityError, match=r"does not list y, which a.safetensors has"
    ):
        stored_tensors(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"weight_map": []}', '{"weight_map": {"x": 1}}', '{"weight_map": 1}'],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, a=("x",))
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(MmparityError, match=INDEX):
        stored_tensors(tmp_path)
