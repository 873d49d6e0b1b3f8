# SPDX-License-Identifier: Apache-2.0
"""The ways through the encoders that a case takes, by its grids alone.

A window is 112 pixels wide: 8 patches of 14, 4 merged ones of Qwen2.5-VL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from mmparity.workload.cases import Case, Grid, Noise, is_clips

MERGE, WINDOW = 2, 8
MANY_PATCHES = 32
"""A side beyond which positions leave the tables of small images."""
SMALL = 4 * WINDOW
SEVERAL, MANY = 3, 5

Grids = Sequence[Grid]
PATHS: dict[str, Callable[[Grids, Case], bool]] = {
    "one image": lambda grids, _: len(grids) == 1 and grids[0][0] == 1,
    "three images or more": lambda grids, _: len(grids) >= SEVERAL,
    "many small images": lambda grids, _: (
        sum(t * h * w <= SMALL for t, h, w in grids) >= MANY
    ),
    "images of one grid": lambda grids, _: max(Counter(grids).values()) > 1,
    "portrait and landscape": lambda grids, _: (
        any(h > w for _, h, w in grids) and any(h < w for _, h, w in grids)
    ),
    "the way of videos": lambda grids, _: is_clips(grids),
    "a third frame": lambda grids, _: any(t >= SEVERAL for t, _, _ in grids),
    "several windows both ways": lambda grids, _: any(
        min(h, w) > WINDOW for _, h, w in grids
    ),
    "full windows only": lambda grids, _: any(
        h % WINDOW == w % WINDOW == 0 for _, h, w in grids
    ),
    "windows cut at the right": lambda grids, _: any(
        w > WINDOW and w % WINDOW for _, _, w in grids
    ),
    "windows cut at the bottom": lambda grids, _: any(
        h > WINDOW and h % WINDOW for _, h, _ in grids
    ),
    "narrower than a window": lambda grids, _: any(
        min(h, w) < WINDOW for _, h, w in grids
    ),
    "smaller than a window": lambda grids, _: any(
        max(h, w) < WINDOW for _, h, w in grids
    ),
    "one merged patch": lambda grids, _: any(h == w == MERGE for _, h, w in grids),
    "a side over 32 patches": lambda grids, _: any(
        max(h, w) > MANY_PATCHES for _, h, w in grids
    ),
    "a second forward": lambda _, case: case.second,
}
"""Name -> whether grids and case take it."""


def paths_of(case: Case) -> tuple[str, ...]:
    """The names of those that a case takes, in the order of ``PATHS``."""
    grids = [
        item.grid
        if isinstance(item, Noise)
        else (-(-item.frames // 2), item.rows, item.columns)
        for item in case.media
    ]
    return tuple(name for name, takes in PATHS.items() if takes(grids, case))
