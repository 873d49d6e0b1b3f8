# SPDX-License-Identifier: Apache-2.0
"""What is said of the releases that there are, where another one was asked for."""

import pytest

from patchseries.pins.index import find_sdist
from patchseries.pins.versions import closest, in_order


def test_the_newest_releases_are_those_of_the_highest_numbers():
    known = {"0.9.2", "0.8.3", "0.33.0", "0.30.0", "0.33.0rc1", "", "nightly"}
    assert in_order(known) == ["0.8.3", "0.9.2", "0.30.0", "0.33.0rc1", "0.33.0"]


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("0.33", "0.33.0"),
        ("0.3.3", "0.3.0"),
        ("0.32.5", "0.33.0"),
        ("0.33.0.post1", "0.33.0"),
        ("9", "1.0"),
        ("newest", ""),
    ],
)
def test_the_closest_release(asked, near):
    known = ["0.3.0", "0.9.2", "0.30.0", "0.33.0rc1", "0.33.0", "1.0", "nightly"]
    assert closest(asked, known) == near


def test_another_release_is_answered_with_the_newest_and_the_closest(
    bare_toy, tools, refused
):
    for version in ("3.0", "9.0", "9.10", "10.0"):
        tools.sdist(bare_toy.index / f"toy-{version}.tar.gz", {}, top=f"toy-{version}")
    (bare_toy.index / "toy-11.0-py3-none-any.whl").touch()
    error = refused("not-found", find_sdist, "toy", "9.1")
    assert "found: 1.0, 3.0, 9.0, 9.10, 10.0. Closest: 9.0" in str(error)
