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


def test_a_package_without_the_files_of_a_series_is_named(site, verify):
    for path in (site / "pkg").glob("*.py"):
        path.unlink()
    (site / "pkg/stub.py").touch()
    done = verify()
    assert done.exit_code == 2 and "no-package" in done.output
    assert f"{sys.executable} imports pkg from {site / 'pkg'}, which" in done.output
    assert "source tree" not in done.output and "-> give the interp" in done.output


def test_a_folder_is_told_from_its_interpreter(site, verify, tmp_path):
    done = verify(tmp_path)
    assert done.exit_code == 2
    assert f"{tmp_path} is a folder" in done.output and "bin/python" in done.output
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    done = verify(tmp_path)
    assert done.output.endswith(f"-> patchseries verify {tmp_path}/bin/python\n")


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


REWRITING = {
    "rotates": {"pkg/a.py": {10: "first_form = rotate(q)\n"}},
    "rotates-later": {"pkg/a.py": {10: "second_form = rotate(q, k)\n"}},
    "takes-out": {"pkg/gone.py": {0: ""}},
    "for-a-while": {
        "pkg/a.py": {35: "import rotate_for_a_while\n"},
        "pkg/b.py": {0: "from pkg import rotate\n"},
    },
    "no-longer": {"pkg/a.py": {35: ""}, "pkg/other.py": {3: "rotate_once = True\n"}},
}


def _comment(folder):
    for path in folder.rglob("*.py"):
        with path.open("a") as file:
            file.write("# x\n")


def _shares(done):
    rows = [x.split() for x in done.output.splitlines() if x[:2] == "  "]
    return {row[0]: " ".join(row[1:3]) for row in rows if row[0] in REWRITING}


@pytest.fixture
def rewriting(site, series):
    """A series whose later patches rewrite lines of the earlier ones."""
    values = {s: {"Depends-on": "rotates"} for s in REWRITING if s != "rotates"}
    series(REWRITING, values)
    return site / "pkg"


def test_a_whole_series_in_edited_files_is_whole(toy, rewriting, verify):
    toy.apply(rewriting)
    _comment(rewriting)
    done = verify()
    assert done.exit_code == 0, done.output
    assert done.output.count("by its lines: its files were edited") == len(REWRITING)


def test_nothing_of_a_series_in_edited_files_is_nothing(rewriting, verify):
    _comment(rewriting)
    done = verify()
    assert done.exit_code == 1
    assert set(_shares(done).values()) == {"not there"}, done.output


def test_a_patch_taken_out_by_hand_is_the_one_that_is_missed(toy, rewriting, verify):
    toy.apply(rewriting)
    _comment(rewriting)
    text = (rewriting / "a.py").read_text()
    earlier = text.replace("second_form = rotate(q, k)", "first_form = rotate(q)")
    (rewriting / "a.py").write_text(earlier)
    missed = [slug for slug, share in _shares(verify()).items() if "not" in share]
    assert missed == ["rotates-later"]

    neither = text.replace("second_form = rotate(q, k)", "line 10")
    (rewriting / "a.py").write_text(neither)
    missed = [slug for slug, share in _shares(verify()).items() if "not" in share]
    assert missed == ["rotates", "rotates-later"]
