# SPDX-License-Identifier: Apache-2.0
"""An installed package: its own files only, with the guarantees of every other tree."""

import shutil

import pytest

from patchseries.apply.package import in_scope
from patchseries.apply.refresh import refresh
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.series.folder import read_series
from patchseries.tree.places import open_target


@pytest.fixture
def installed(toy, tools, tmp_path):
    """`site-packages` with the package; the series touches tests as well."""
    work = toy.clone(tmp_path / "work")
    for patch in sorted(toy.folder.glob("*.patch")):
        tools.git(work, "am", "-q", "--keep-non-patch", str(patch))
    tools.edit(work, {"tests/test_a.py": "T = 1\n", "pkg/b.py": "B = 3\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] With a test\n\nWhy: so.\n")
    tools.edit(work, {"tests/test_b.py": "T = 2\n"})
    tools.git(work, "commit", "-q", "-m", "[Misc] Only a test\n\nWhy: so.\n")
    refresh(toy.project, work, tools.tree, None)
    site = tmp_path / "site-packages"
    shutil.copytree(toy.pristine / "pkg", site / "pkg")
    (site / "beside").mkdir()
    (site / "beside/__init__.py").write_text("")
    return site


def test_there_and_back(toy, installed, tools):
    before = tools.picture(installed)
    assert "4 patches applied" in toy.apply(installed / "pkg")[-1]
    assert not (installed / "tests").exists()
    assert (installed / "pkg/b.py").read_text() == "B = 3\n"
    assert (installed / "pkg/new/d.py").exists()
    assert status(toy.project, installed / "pkg", None).state == "applied"
    assert "already applied" in toy.apply(installed / "pkg")[-1]
    unapply(toy.project, installed / "pkg", None)
    changed = {n: v for n, v in tools.picture(installed).items() if len(v) > 1}
    assert changed == {n: v for n, v in before.items() if len(v) > 1}
    assert not (installed / "pkg/.patchseries").exists()


def test_edited_file_is_refused(toy, installed, refused, tools):
    (installed / "pkg/a.py").write_text("mine\n")
    before = tools.picture(installed)
    refused("wrong-base", toy.apply, installed / "pkg")
    assert tools.picture(installed) == before


def test_lost_originals_are_rebuilt(toy, installed):
    toy.apply(installed / "pkg")
    shutil.rmtree(installed / "pkg/.patchseries/originals")
    unapply(toy.project, installed / "pkg", None)
    assert (installed / "pkg/b.py").read_text() == "B = 1\n"
    assert (installed / "pkg/gone.py").exists()


def test_other_packages_have_no_series(toy, installed, refused):
    refused("foreign-directory", toy.apply, installed / "beside")
    refused("foreign-directory", toy.apply, installed / "beside", "toy-1.0")


def test_a_folder_of_a_source_tree_is_no_package(toy, installed, tools):
    (installed / "setup.py").write_text("")
    assert open_target(installed / "pkg").root == installed / "pkg"


def test_scope_keeps_the_patches_whole(toy, installed, tools):
    series = read_series(toy.project, tools.tree)
    scoped = in_scope(series, open_target(installed / "pkg"))
    assert len(scoped.patches) == len(series.patches) - 1
    assert scoped.patches[0].data == series.patches[0].data
    assert scoped.patches[0].message == series.patches[0].message
