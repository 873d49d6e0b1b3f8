# SPDX-License-Identifier: Apache-2.0
"""`forecast RELEASE`: which series are judged on it, and what is found out first."""

import hashlib
import shutil
import sys

import pytest
from click.testing import CliRunner

from patchseries.cli import main
from patchseries.project import cache_folder

OPTIONAL = """
[[source]]
name = "toy"
version = "2.0"
kind = "sdist"
purpose = "another toy"
optional = true
package = "pkg"
[[source.archive]]
file = "toy-2.0.tar.gz"
sha256 = "{}"
tree = "{}"
"""


@pytest.fixture
def run(toy, pins, tools):
    """`forecast`, with a release toy-3.0 and a second series whose tree is optional."""
    pins(OPTIONAL.format(hashlib.sha256(b"").hexdigest(), "0" * 40))
    shutil.copytree(toy.folder, toy.project.patches / "toy-2.0")
    tools.sdist(toy.index / "toy-3.0.tar.gz", tools.files, top="toy-3.0")

    def call(*args):
        root = str(toy.project.root)
        return CliRunner().invoke(
            main, ["--project", root, "forecast", "--text-only", *args]
        )

    return call


def test_a_series_whose_optional_tree_was_not_fetched_is_left_out(run):
    done = run("toy-3.0")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("toy-1.0 on toy-3.0: 3 applies\n")
    assert "toy-2.0: left out (`patchseries fetch toy-2.0` adds it)" in done.stderr


def test_nothing_is_downloaded_where_no_series_remains(toy, run):
    done = run("toy-3.0", "toy-1.0")
    assert done.exit_code == 2 and not done.stdout
    assert "not-fetched" in done.stderr and "toy-1.0" in done.stderr
    assert done.stderr.endswith("-> patchseries fetch toy-2.0\n")
    assert not (cache_folder() / "releases").exists()


def test_nothing_is_downloaded_for_a_series_that_cannot_be_judged(toy, run):
    shutil.rmtree(toy.pristine)
    done = run("toy-3.0")
    assert done.exit_code == 2
    assert done.stderr.endswith("-> patchseries fetch toy-1.0\n")
    assert not (cache_folder() / "releases").exists()


def test_without_tests_it_says_how_far_it_is_too(run):
    """On standard error: the answer is what it was."""
    done = run("toy-3.0")
    for line in ["toy-3.0: downloading it", "toy-1.0 on toy-3.0: patch 2 of 3"]:
        assert line in done.stderr.splitlines() and line not in done.stdout
    assert "text only: its tests were not run" in done.stdout
    assert "its tests on" not in done.stderr


def test_a_folder_that_no_series_is_for(toy, run, tmp_path):
    text = toy.project.pins.read_text()
    text = text.replace('purpose = "toy"', 'purpose = "toy"\npackage = "pkg"')
    toy.project.pins.write_text(text)
    done = run(str(tmp_path))
    assert done.exit_code == 2 and "foreign-directory" in done.stderr
    assert f"{tmp_path} holds no package of a series (pkg)" in done.stderr
    assert "-> give the top of a source tree" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("forecast", "toy-3.0"),
        ("verify", sys.executable),
        ("rebase", "--to", "3.0"),
        ("apply",),
        ("check",),
    ],
)
def test_a_name_that_is_no_series_is_answered_with_those_that_are(toy, args):
    words = ["--project", str(toy.project.root), *args, "--series", "nope"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert "'nope' is no series" in done.stderr and "there are: toy-1.0" in done.stderr
    assert done.stderr.endswith("-> give one of these, as `--series toy-1.0`\n")
