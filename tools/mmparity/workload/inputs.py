# SPDX-License-Identifier: Apache-2.0
"""Pixels for the encoders: real photographs through transformers' real processors.

Made once by the parent and read by every worker from one file, so a difference
in preprocessing can never look like a difference between encoders.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmparity.errors import MmparityError
from mmparity.files import partial_of, writing
from mmparity.provenance import own_code
from mmparity.stored_json import first_line
from mmparity.workload.cases import Case, Grid, Noise, Photograph
from mmparity.workload.models import FAMILIES, family_of
from mmparity.workload.photographs import photograph

if TYPE_CHECKING:
    import numpy as np

METADATA_KEY = "mmparity"
MERGE, TEMPORAL = 2, 2
MADE_BY = ("numpy", "pillow", "scikit-learn", "torch", "torchvision", "transformers")
"""The packages that decide what the pixels of a photograph become."""


@dataclass(frozen=True)
class Geometry:
    """How an encoder cuts images into patches; from its vision configuration."""

    patch_size: int = 14
    merge_size: int = 2
    temporal_patch_size: int = 2
    family: str = "qwen2_5_vl"
    """Whose processors make the pixels."""
    channels: int = 3

    @classmethod
    def of(cls, config: Any) -> Geometry:
        """The geometry of a transformers vision configuration."""
        return cls(
            config.patch_size,
            config.spatial_merge_size,
            config.temporal_patch_size,
            family_of(config).name,
            getattr(config, "channels", 3),
        )

    @property
    def numbers(self) -> int:
        """Pixels of one patch, in all its frames and channels."""
        return self.channels * self.temporal_patch_size * self.patch_size**2


@dataclass(frozen=True)
class Inputs:
    """What one forward is given."""

    pixel_values: torch.Tensor
    """float32, [patches, 3 * temporal_patch_size * patch_size ** 2]."""
    grid_thw: tuple[Grid, ...]
    pixels_digest: str
    description: str
    recipe: str = ""
    """A digest of all that decided the pixels."""
    merge_size: int = MERGE
    temporal_patch_size: int = TEMPORAL
    channels: int = 3


def write_inputs(case: Case, directory: Path, geometry: Geometry | None = None) -> Path:
    """Writes ``<case>.safetensors`` and returns its path.

    One that was made of the same case by the same code and packages stays.
    """
    geometry = geometry or Geometry()
    check_fits(case, geometry)
    file = Path(directory) / f"{case.name}.safetensors"
    recipe = _recipe(case, geometry)
    if _made_by(file) == recipe:
        return file
    parts, grids = [], []
    for item in case.media:
        if isinstance(item, Noise):
            pixels, grid = _noise(item, geometry)
        else:
            pixels, grid = _processed(item, geometry)
        parts.append(pixels)
        grids.append(grid)
    pixels = torch.cat(parts)
    save_inputs(file, pixels, tuple(grids), case.description, recipe, geometry)
    return file


def save_inputs(
    file: Path,
    pixels: torch.Tensor,
    grids: tuple[Grid, ...],
    description: str,
    recipe: str = "",
    geometry: Geometry | None = None,
) -> None:
    """Writes pixels, [patches, pixels of one], as ``read_inputs`` reads them."""
    geometry = geometry or Geometry()
    pixel_values = pixels.float().contiguous()
    metadata = {
        "grid_thw": grids,
        "pixels_digest": pixels_digest(pixel_values),
        "description": description,
        "recipe": recipe,
        "merge_size": geometry.merge_size,
        "temporal_patch_size": geometry.temporal_patch_size,
        "channels": geometry.channels,
    }
    partial, said = partial_of(file), {METADATA_KEY: json.dumps(metadata)}
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"pixel_values": pixel_values}, partial, said)
        partial.replace(file)


def _recipe(case: Case, geometry: Geometry) -> str:
    """A digest of all that decides the pixels of a case."""
    versions = [version(name) for name in MADE_BY]
    about = repr([case, geometry, own_code(), versions])
    return hashlib.sha256(about.encode()).hexdigest()


def _made_by(file: Path) -> str | None:
    """The recipe of an input file; None where it is not there or does not hold."""
    try:
        return read_inputs(file).recipe
    except MmparityError:
        return None


_NO_METADATA = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


def read_inputs(file: Path) -> Inputs:
    """Reads what ``write_inputs`` wrote, and checks the digest and the grid."""
    try:
        with safe_open(file, framework="pt") as tensors:
            metadata = json.loads((tensors.metadata() or {})[METADATA_KEY])
            pixel_values = tensors.get_tensor("pixel_values")
        grids = tuple((int(t), int(h), int(w)) for t, h, w in metadata["grid_thw"])
        digest, description = metadata["pixels_digest"], str(metadata["description"])
        recipe = str(metadata.get("recipe", ""))
        cells = [
            int(metadata.get(name, default))
            for name, default in (
                *(("merge_size", MERGE), ("temporal_patch_size", TEMPORAL)),
                ("channels", 3),
            )
        ]
    except (OSError, SafetensorError, *_NO_METADATA) as error:
        raise MmparityError(
            f"{file} does not hold inputs: {first_line(error)}"
        ) from error
    kind = str(pixel_values.dtype).removeprefix("torch.")
    least = min((size for grid in grids for size in grid), default=0)
    if (kind, pixel_values.dim()) != ("float32", 2) or least < 1:
        raise MmparityError(
            f"{file} does not hold inputs: pixels are {kind} "
            f"{list(pixel_values.shape)} and the grid {str(grids)[:80]}; float32 "
            "[patches, pixels of one] and a grid of sizes from 1 are needed."
        )
    patches = sum(t * h * w for t, h, w in grids)
    if patches != pixel_values.shape[0]:
        raise MmparityError(
            f"{file}: grid {grids} has {patches} patches, "
            f"but there are {pixel_values.shape[0]} rows of pixels."
        )
    if digest != pixels_digest(pixel_values):
        raise MmparityError(f"{file} was changed: its digest does not fit its pixels.")
    return Inputs(pixel_values, grids, digest, description, recipe, *cells)


def pixels_digest(pixel_values: torch.Tensor) -> str:
    """sha256 over dtype, shape and bytes."""
    head = f"{pixel_values.dtype} {tuple(pixel_values.shape)}\n".encode()
    digest = hashlib.sha256(head)
    digest.update(memoryview(pixel_values.contiguous().numpy()))
    return digest.hexdigest()


def check_fits(case: Case, geometry: Geometry) -> None:
    """Refuses grids that cannot be merged, and regions outside of their photographs."""
    for item in case.media:
        sizes = item.grid[1:] if isinstance(item, Noise) else (item.rows, item.columns)
        for size in sizes:
            if size % geometry.merge_size:
                raise MmparityError(
                    f"case {case.name!r} has {sizes[0]}x{sizes[1]} patches: {size} is "
                    f"no multiple of the merge size {geometry.merge_size}."
                )
        if isinstance(item, Photograph):
            _frames(item, geometry)


def _noise(noise: Noise, geometry: Geometry) -> tuple[torch.Tensor, Grid]:
    generator = torch.Generator().manual_seed(noise.seed)
    rows = noise.grid[0] * noise.grid[1] * noise.grid[2]
    return torch.randn(rows, geometry.numbers, generator=generator), noise.grid


def _processed(photo: Photograph, geometry: Geometry) -> tuple[torch.Tensor, Grid]:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import (
        Qwen2VLImageProcessor,
    )

    family = FAMILIES[geometry.family]
    frames = _frames(photo, geometry)
    area = (geometry.patch_size * geometry.merge_size) ** 2
    options: dict[str, Any] = {
        "size": {"shortest_edge": area, "longest_edge": area * 1280},
        "patch_size": geometry.patch_size,
        "merge_size": geometry.merge_size,
        "temporal_patch_size": geometry.temporal_patch_size,
    }
    if family.image_mean:
        options |= {"image_mean": family.image_mean, "image_std": family.image_mean}
    if photo.frames == 1:
        options["min_pixels"] = area  # it overwrites a size that is given
        batch = Qwen2VLImageProcessor(**options)(images=frames, return_tensors="pt")
        pixels, grid = batch["pixel_values"], batch["image_grid_thw"][0]
    else:
        module, _, name = family.video_processor.partition(":")
        processor = getattr(import_module(f"transformers.models.{module}"), name)
        batch = processor(**options)(
            videos=[frames], do_sample_frames=False, return_tensors="pt"
        )
        pixels, grid = batch["pixel_values_videos"], batch["video_grid_thw"][0]
    time, rows, columns = (int(size) for size in grid)
    assert (rows, columns) == (photo.rows, photo.columns), (grid, photo)
    return pixels, (time, rows, columns)


def _frames(photo: Photograph, geometry: Geometry) -> list[np.ndarray[Any, Any]]:
    """Regions a few pixels larger than the grid, so that the processor resizes.

    Their places are those for patches of 14 pixels; larger patches start nearer to
    the corner, so that the same grid fits inside the photograph.
    """
    image = photograph(photo.file)
    height = photo.rows * geometry.patch_size + 5
    width = photo.columns * geometry.patch_size + 5
    frames = []
    for number in range(photo.frames):
        left = (photo.left + number * photo.step[0]) * 14 // geometry.patch_size
        top = (photo.top + number * photo.step[1]) * 14 // geometry.patch_size
        frame = image[top : top + height, left : left + width]
        if frame.shape[:2] != (height, width):
            raise MmparityError(
                f"{photo.rows}x{photo.columns} patches of {geometry.patch_size} pixels "
                f"at {left},{top} do not fit into {photo.file}, which has "
                f"{image.shape[0]}x{image.shape[1]}."
            )
        frames.append(frame.copy())
    return frames
