# SPDX-License-Identifier: Apache-2.0
"""The cases: what the encoders are shown. Data only; ``inputs`` makes pixels of it.

Sizes are in patches, so that a case has the same grid for every model. The sum
over the default cases is about 1,000 patches, small enough for 32 blocks in float64
on two cores; ``paths`` says which ways through the encoders they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.errors import MmparityError
from mmparity.workload.towers import TOWERS, Tower

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Photograph:
    """A region of a photograph; with ``frames`` a clip, the region moving."""

    file: str
    """One of the photographs that scikit-learn bundles."""
    rows: int
    columns: int
    left: int = 0
    top: int = 0
    frames: int = 1
    step: tuple[int, int] = (0, 0)
    """Pixels to the right and down from one frame to the next."""


@dataclass(frozen=True)
class Noise:
    """Seeded noise instead of pixels, for any grid."""

    grid: Grid
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """One forward of the encoder."""

    name: str
    description: str
    media: tuple[Photograph | Noise, ...]
    second: bool = False
    """It is the second forward of its grids; the first one had other pixels."""
    quantized: bool = False
    """With a W8A8 checkpoint, in bfloat16; not among the default cases."""

    @property
    def patches(self) -> int:
        """Patch tokens of the whole case (two frames make one patch)."""
        total = 0
        for item in self.media:
            if isinstance(item, Noise):
                total += item.grid[0] * item.grid[1] * item.grid[2]
            else:
                total += -(-item.frames // 2) * item.rows * item.columns
        return total


CASES = {
    case.name: case
    for case in (
        Case(
            "image",
            "one photograph, 16x18 patches",
            (Photograph("china.jpg", 16, 18, left=200, top=40),),
        ),
        Case(
            "two-images",
            "a strip of a photograph and another one, 4x36 and 16x8 patches",
            (
                Photograph("china.jpg", 4, 36, left=40, top=200),
                Photograph("flower.jpg", 16, 8, left=180, top=90),
            ),
        ),
        Case(
            "video",
            "a clip of six frames, 3x8x10 patches",
            (Photograph("china.jpg", 8, 10, left=90, top=150, frames=6, step=(23, 9)),),
        ),
        Case(
            "ragged",
            "one photograph, 10x14 patches: no window but the first is full",
            (Photograph("flower.jpg", 10, 14, left=230, top=130),),
        ),
        Case(
            "small-images",
            "six regions of 2x2 to 8x4 patches, after others on the same grids",
            (
                Photograph("china.jpg", 4, 4, left=60, top=120),
                Photograph("flower.jpg", 2, 2, left=250, top=150),
                Photograph("flower.jpg", 4, 4, left=200, top=200),
                Photograph("china.jpg", 2, 6, left=300, top=220),
                Photograph("flower.jpg", 6, 2, left=230, top=130),
                Photograph("china.jpg", 8, 4, left=400, top=100),
            ),
            second=True,
        ),
        Case(
            "w8a8",
            "one photograph, 12x16 patches, through W8A8 layers",
            (Photograph("flower.jpg", 12, 16, left=180, top=90),),
            quantized=True,
        ),
    )
}


TOWER_CASE = "tower"
_FILES = ("china.jpg", "flower.jpg")


def tower_case(tower: Tower) -> Case:
    """The case of a described tower: photographs on its grids, or noise for sound."""
    media: tuple[Photograph | Noise, ...] = tuple(
        Photograph(_FILES[i % 2], h, w, left=40 + 90 * i, top=60 + 30 * i)
        if tower.shape.channels == len("RGB")
        else Noise((t, h, w), i)
        for i, (t, h, w) in enumerate(tower.grids)
    )
    sizes = ", ".join("x".join(map(str, grid)) for grid in tower.grids)
    return Case(TOWER_CASE, f"what the tower is made for, grids {sizes}", media)


def cases_of(model: str | None) -> dict[str, Case]:
    """The cases that a model can run; a described tower has one of its own."""
    tower = TOWERS.get(model or "")
    return CASES if tower is None else {TOWER_CASE: tower_case(tower)}


def default_cases(model: str | None) -> tuple[Case, ...]:
    """Those that run where none is named."""
    return tuple(case for case in cases_of(model).values() if not case.quantized)


DEFAULT_CASES = default_cases(None)


def is_clips(grids: Sequence[Sequence[int]]) -> bool:
    """Whether a model is given them as videos: every one has several frames.

    A model takes images and clips in two forwards; the cases are one forward each.
    """
    return all(frames > 1 for frames, _, _ in grids)


def noise_case(grids: tuple[Grid, ...]) -> Case:
    """The case of ``--grid``: seeded noise on the grids asked for."""
    text = "+".join("x".join(str(size) for size in grid) for grid in grids)
    media = tuple(Noise(grid, seed) for seed, grid in enumerate(grids))
    return Case(f"grid-{text}", f"seeded noise, patch grids {text}", media)


def parse_grid(text: str, merge_size: int = 2) -> Grid:
    """``T,H,W`` in patches; H and W must be multiples of the merge size."""
    try:
        time, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise MmparityError(
            f"--grid {text!r} is not T,H,W (three whole numbers), for example 1,16,24"
        ) from None
    if min(time, height, width) < 1:
        raise MmparityError(f"--grid {text}: every size must be at least 1")
    nearest = tuple(
        max(merge_size, round(size / merge_size) * merge_size)
        for size in (height, width)
    )
    if nearest != (height, width):
        raise MmparityError(
            f"--grid {text}: height and width must be multiples of the merge size "
            f"{merge_size}. Nearest allowed: {time},{nearest[0]},{nearest[1]}"
        )
    return time, height, width
