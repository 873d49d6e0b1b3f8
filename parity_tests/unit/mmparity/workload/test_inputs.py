# SPDX-License-Identifier: Apache-2.0
"""Pixels come from transformers' own processors and keep their digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmparity.errors import MmparityError
from mmparity.workload.cases import CASES, Case, Noise, Photograph, noise_case
from mmparity.workload.inputs import METADATA_KEY, Geometry, read_inputs, write_inputs


@pytest.mark.parametrize("name", CASES)
def test_photographs_have_the_grid_of_their_case(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    inputs = read_inputs(write_inputs(case, tmp_path))
    assert inputs.pixel_values.shape == (case.patches, 1176)
    assert inputs.pixel_values.dtype == torch.float32
    assert inputs.description == case.description
    assert 0.5 < inputs.pixel_values.std() < 1.5
    assert len(inputs.grid_thw) == len(case.media)


def test_frames_of_the_clip_differ(tmp_path: Path) -> None:
    inputs = read_inputs(write_inputs(CASES["video"], tmp_path))
    assert inputs.grid_thw == ((3, 8, 10),)
    patches = inputs.pixel_values.view(3, 80, 3, 2, 196)
    assert not torch.equal(patches[0], patches[1])
    assert not torch.equal(patches[:, :, :, 0], patches[:, :, :, 1])


def test_ragged_case_has_ragged_windows_on_both_sides() -> None:
    (photo,) = CASES["ragged"].media
    assert isinstance(photo, Photograph)
    assert photo.rows % 8
    assert photo.columns % 8


def test_same_case_gives_the_same_digest(tmp_path: Path) -> None:
    first, second = (
        read_inputs(write_inputs(CASES["ragged"], tmp_path / name)) for name in "ab"
    )
    assert first.pixels_digest == second.pixels_digest
    noise = noise_case(((1, 2, 2), (1, 2, 2)))
    pixels = read_inputs(write_inputs(noise, tmp_path)).pixel_values
    assert not torch.equal(pixels[:4], pixels[4:])


def test_other_geometry_gives_other_patches(tmp_path: Path) -> None:
    geometry = Geometry(patch_size=16)
    inputs = read_inputs(write_inputs(CASES["ragged"], tmp_path, geometry))
    assert inputs.grid_thw == ((1, 10, 14),)
    assert inputs.pixel_values.shape == (140, 3 * 2 * 16 * 16)


def test_region_outside_the_photograph_is_refused(tmp_path: Path) -> None:
    case = Case("x", "x", (Photograph("china.jpg", 24, 18, left=600),))
    with pytest.raises(MmparityError, match=r"do not fit into china.jpg, which has"):
        write_inputs(case, tmp_path)


def test_changed_pixels_are_noticed(tmp_path: Path) -> None:
    file = write_inputs(noise_case(((1, 2, 2),)), tmp_path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(MmparityError, match="was changed"):
        read_inputs(file)


@pytest.mark.parametrize(
    ("pixels", "grid"),
    [
        (torch.zeros(4, 6, dtype=torch.complex64), [[1, 2, 2]]),
        (torch.zeros(4, 6, dtype=torch.int32), [[1, 2, 2]]),
        (torch.zeros(4), [[1, 2, 2]]),
        (torch.zeros(4, 6), [[-1, -2, 2]]),
        (torch.zeros(4, 6), []),
    ],
)
def test_pixels_and_grids_of_another_kind_are_refused(
    tmp_path: Path, pixels: torch.Tensor, grid: list[list[int]]
) -> None:
    metadata = {"grid_thw": grid, "pixels_digest": "x", "description": "x"}
    file = tmp_path / "x.safetensors"
    save_file({"pixel_values": pixels}, file, {METADATA_KEY: json.dumps(metadata)})
    with pytest.raises(MmparityError, match=r"float32 .* are needed"):
        read_inputs(file)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    with pytest.raises(MmparityError, match="does not hold inputs"):
        read_inputs(file)
    save_file({"pixel_values": torch.zeros(4, 6)}, file)
    with pytest.raises(MmparityError, match="does not hold inputs"):
        read_inputs(file)
    text = json.dumps({"grid_thw": [[1, 2, 4]], "pixels_digest": "", "description": ""})
    save_file({"pixel_values": torch.zeros(4, 6)}, file, {"mmparity": text})
    with pytest.raises(MmparityError, match="has 8 patches"):
        read_inputs(file)


def test_pixels_are_made_once_and_anew_where_they_do_not_hold(tmp_path: Path) -> None:
    case = Case("noise", "seeded", (Noise((1, 4, 4), 0),))
    file = write_inputs(case, tmp_path)
    made = file.stat().st_mtime_ns
    assert write_inputs(case, tmp_path).stat().st_mtime_ns == made
    other = Case("noise", "seeded", (Noise((1, 4, 4), 1),))
    write_inputs(other, tmp_path)
    assert file.stat().st_mtime_ns != made
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    write_inputs(other, tmp_path)
    assert read_inputs(file).pixels_digest
