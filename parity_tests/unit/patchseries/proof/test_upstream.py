# SPDX-License-Identifier: Apache-2.0
"""Upstream's own tests before and after a series, on a toy that has some."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from patchseries.cli import main
from patchseries.pins.fetch import commit_tree
from patchseries.pins.unpack import unpack_sdist

TESTS = """\
from pkg.b import B


def test_any():
    assert B


def test_as_released():
    assert B == 1


def test_of_a_device():
    raise RuntimeError("no such device")
"""


@pytest.fixture
def run(bare_toy, tools, tmp_path):
    """`patchseries test-upstream` with this setup, on a toy that releases TESTS."""
    toy, unpacked = bare_toy, tmp_path / "unpacked"
    sdist = toy.index / f"{tools.tree}.tar.gz"
    sha256 = tools.sdist(sdist, {**tools.files, "tests/test_b.py": TESTS})
    unpacked.mkdir()
    unpack_sdist(sdist, unpacked)
    tools.pin(toy.project, sha256, commit_tree(unpacked, tools.tree, sha256))
    toy.fetch()
    toy.write_series()

    def call(setup: str):
        with toy.project.pins.open("a") as file:
            file.write(f"[source.tests]\n{setup}\n")
        words = ["--project", str(toy.project.root), "test-upstream"]
        return CliRunner().invoke(main, words)

    return call


def test_what_the_series_changes_is_named_and_what_failed_before_is_not(run):
    result = run("upstream = ['tests/test_b.py']")
    assert result.exit_code == 1, result.output
    assert "tests/test_b.py: 1 pass on both trees, 1 fail on both" in result.output
    assert "test_of_a_device: fails on both" in result.output
    assert "test_as_released: ok before, failure after" in result.output


def test_a_series_of_which_no_tests_are_named_is_not_proven(run):
    result = run("options = []")
    assert result.exit_code == 1, result.output
    assert "names no tests of it" in result.output
