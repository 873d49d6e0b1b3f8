# SPDX-License-Identifier: Apache-2.0
"""Which ways through the encoders the default cases take."""

from __future__ import annotations

import pytest

from mmparity.workload.cases import CASES, DEFAULT_CASES, Case, Grid, Noise
from mmparity.workload.paths import PATHS, paths_of

SAID = {
    "image": {"one image", "several windows both ways", "windows cut at the right"},
    "two-images": {
        "full windows only",
        "narrower than a window",
        "a side over 32 patches",
        "portrait and landscape",
    },
    "video": {"the way of videos", "a third frame", "windows cut at the right"},
    "ragged": {"one image", "windows cut at the bottom", "windows cut at the right"},
    "small-images": {
        "three images or more",
        "many small images",
        "images of one grid",
        "smaller than a window",
        "one merged patch",
        "a second forward",
    },
}


@pytest.mark.parametrize("path", PATHS)
def test_a_default_case_takes_each_path(path: str) -> None:
    assert [case.name for case in DEFAULT_CASES if path in paths_of(case)]


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda case: case.name)
def test_a_case_takes_the_paths_that_it_is_there_for(case: Case) -> None:
    assert SAID[case.name] <= set(paths_of(case))


def test_the_default_cases_stay_small() -> None:
    assert sum(case.patches for case in DEFAULT_CASES) <= 1084
    assert CASES.keys() >= {"image", "two-images", "video", "ragged", "w8a8"}


@pytest.mark.parametrize(
    ("grids", "path", "takes"),
    [
        (((1, 8, 8),), "narrower than a window", False),
        (((1, 6, 8),), "narrower than a window", True),
        (((1, 8, 32),), "a side over 32 patches", False),
        (((1, 34, 8),), "a side over 32 patches", True),
        (((2, 8, 8), (1, 8, 8)), "the way of videos", False),
        (((2, 8, 8), (3, 8, 8)), "the way of videos", True),
        (((1, 8, 16),), "windows cut at the right", False),
        (((1, 8, 18),), "windows cut at the right", True),
        (((1, 4, 4), (1, 4, 4)), "images of one grid", True),
        (((1, 4, 4), (1, 4, 6)), "images of one grid", False),
    ],
)
def test_a_path_is_taken_by_its_grids(
    grids: tuple[Grid, ...], path: str, takes: bool
) -> None:
    case = Case("some", "", tuple(Noise(grid) for grid in grids))
    assert (path in paths_of(case)) == takes
