# SPDX-License-Identifier: Apache-2.0
"""`verify PYTHON`: what the packages carry that an interpreter imports."""

import shutil
import sys

import pytest
from click.testing import CliRunner

from patchseries.cli import main


@pytest.fixture
def site(toy, tmp_path, monkeypatch):
    """A folder on the interpreter's path with the package of the toy."""
    text = toy.project.pins.read_text()
    text = text.replace('purpose = "toy"', 'purpose = "toy"\npackage = "pkg"')
    toy.project.pins.write_text(text)
    site = tmp_path / "site-packages"
    shutil.copytree(toy.pristine / "pkg", site / "pkg")
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


@pytest.fixture
def verify(toy):
    def run(python=sys.executable):
        args = ["--project", str(toy.project.root), "verify", str(python)]
        return CliRunner().invoke(main, args)

    return run


def test_the_released_package_carries_nothing(site, verify):
    done = verify()
    assert done.exit_code == 1, done.output
    assert done.output.count("not there") == 3
    assert "0 of 3 patches are there whole" in done.output


def test_the_patched_package_carries_all(toy, site, verify):
    toy.apply(site / "pkg")
    done = verify()
    assert done.exit_code == 0, done.output
    assert "3 of 3 patches are there whole" in done.output


def test_a_reinstalled_file_takes_a_part(toy, site, verify):
    toy.apply(site / "pkg")
    shutil.copy(toy.pristine / "pkg/b.py", site / "pkg/b.py")
    done = verify()
    assert done.exit_code == 1
    assert "in part    not in pkg/b.py" in done.output
    assert "2 of 3 patches are there whole" in done.output


def test_an_edit_beside_a_patch_does_not_hide_it(toy, site, verify):
    toy.apply(site / "pkg")
    with (site / "pkg/a.py").open("a") as file:
        file.write("mine = 1\n")
    assert verify().exit_code == 0
    text = (site / "pkg/a.py").read_text()
    (site / "pkg/a.py").write_text(text.replace("line eleven\n", "line 11\n"))
    done = verify()
    assert done.exit_code == 1
    assert "2 of 3 patches are there whole" in done.output


def test_workers_that_import_another_package_are_seen(site, verify, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(site / "pkg", other / "pkg")
    (other / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.environ.get('WORKERS'):\n"
        "    sys.meta_path.insert(0, __import__('elsewhere').Finder)\n"
        "os.environ['WORKERS'] = '1'\n"
    )
    (other / "elsewhere.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'pkg':\n"
        f"            return PathFinder.find_spec(name, [{str(site)!r}])\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(other))
        done = verify()
    assert done.exit_code == 2
    assert "two-packages" in done.output and str(other / "pkg") in done.output


@pytest.mark.parametrize("what", ["missing", "no Python", "no package"])
def test_what_could_not_be_looked_at_ends_with_2(site, verify, tmp_path, what):
    python = tmp_path / "python"
    if what == "no Python":
        python.write_text("#!/bin/sh\nexit 3\n")
        python.chmod(0o755)
    elif what == "no package":
        shutil.rmtree(site / "pkg")
        python = sys.executable
    done = verify(python)
    assert done.exit_code == 2
    assert ("no-package" if what == "no package" else "no-python") in done.output
