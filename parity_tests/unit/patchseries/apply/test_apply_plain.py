# SPDX-License-Identifier: Apache-2.0
"""Apply and unapply on trees without git: the same guarantees."""

import os
import shutil

import pytest

from patchseries.apply.status import status
from patchseries.apply.unapply import unapply


@pytest.fixture(params=["alone", "inside another repository"])
def plain(request, toy, tmp_path, tools):
    if request.param == "alone":
        return toy.plain(tmp_path / "unpacked-toy")
    outer = tmp_path / "outer"
    outer.mkdir()
    tools.git(outer, "init", "-q")
    tools.git(outer, "commit", "-q", "--allow-empty", "-m", "outer")
    return toy.plain(outer / "unpacked-toy")


def times(picture):
    return {name: value for name, value in picture.items() if len(value) == 3}


def test_there_and_back_again(toy, plain, tools):
    (plain / "pkg/a.py").chmod(0o600)
    os.utime(plain / "pkg/a.py", (1, 1))
    before = tools.picture(plain)
    toy.apply(plain)
    after = tools.picture(plain, (".patchseries",))
    assert after["pkg/new/d.py"][0] == b"D = 1\n" and "pkg/gone.py" not in after
    assert b"line ten\nline eleven\n" in after["pkg/a.py"][0]
    assert after["pkg/a.py"][1] & 0o777 == 0o600, "permissions are kept"
    untouched = {n: v for n, v in times(before).items() if after.get(n, v)[0] == v[0]}
    assert untouched == {n: v for n, v in after.items() if n in untouched} | {
        "pkg/gone.py": before["pkg/gone.py"]
    }
    assert "already applied" in toy.apply(plain)[0]
    assert tools.picture(plain, (".patchseries",)) == after
    unapply(toy.project, plain, None)
    assert tools.picture(plain) == before, "bytes, modes, times and folders"


def test_byte_code_of_a_run_does_not_hinder(toy, plain, tools):
    before = tools.picture(plain)
    toy.apply(plain)
    (plain / "pkg/new/__pycache__").mkdir()
    (plain / "pkg/new/__pycache__/d.cpython-311.pyc").write_bytes(b"x")
    unapply(toy.project, plain, None)
    assert tools.picture(plain) == before


@pytest.mark.parametrize("lost", ["receipt.json", "originals", ""])
def test_unapply_without_receipt_or_originals(toy, plain, tools, lost):
    before = tools.picture(plain)
    toy.apply(plain)
    if lost == "receipt.json":
        (plain / ".patchseries/receipt.json").unlink()
    else:
        shutil.rmtree(plain / ".patchseries" / lost)
    unapply(toy.project, plain, None)
    after = tools.picture(plain, (".patchseries",))
    assert {n: v[:2] for n, v in after.items() if len(v) == 3} == {
        n: v[:2] for n, v in before.items() if len(v) == 3
    }


@pytest.mark.parametrize("kept", ["pkg/a.py", "pkg/new/d.py"])
def test_later_edit_is_not_lost(toy, plain, tools, refused, kept):
    toy.apply(plain)
    (plain / kept).write_text("mine\n")
    before = tools.picture(plain)
    refused("not-as-applied", unapply, toy.project, plain, None)
    assert tools.picture(plain) == before


def test_edited_or_half_patched_tree_is_refused(toy, plain, tools, refused):
    (plain / "pkg/a.py").write_text("mine\n")
    before = tools.picture(plain)
    refused("wrong-base", toy.apply, plain)
    (plain / "pkg/a.py").write_text("".join(tools.lines))
    (plain / "pkg/b.py").write_text("B = 2\n")
    refused("half-patched", toy.apply, plain)
    (plain / "pkg/b.py").write_text("B = 1\n")
    assert {n: v[:2] for n, v in tools.picture(plain).items()} == {
        n: v[:2] for n, v in before.items()
    } | {"pkg/a.py": ("".join(tools.lines).encode(), before["pkg/a.py"][1])}


def test_three_way_and_back(toy, plain, tools):
    text = "".join(tools.lines).replace("line 8\n", "drift\n")
    (plain / "pkg/a.py").write_text(text)
    before = tools.picture(plain)
    toy.apply(plain, three_way=True)
    assert "drift\nline 9\nline ten" in (plain / "pkg/a.py").read_text()
    unapply(toy.project, plain, None)
    assert tools.picture(plain) == before


def test_symlinked_folder_is_not_written_through(toy, plain, tmp_path, tools, refused):
    outside = tmp_path / "outside"
    shutil.move(plain / "pkg", outside)
    (plain / "pkg").symlink_to(outside)
    before = tools.picture(outside)
    refused("path-blocked", toy.apply, plain)
    assert tools.picture(outside) == before


def test_outer_repository_never_notices(toy, tmp_path, tools):
    outer = tmp_path / "outer"
    outer.mkdir()
    tools.git(outer, "init", "-q")
    tools.git(outer, "commit", "-q", "--allow-empty", "-m", "outer")
    plain = toy.plain(outer / "vendor")
    before = tools.git_picture(outer)[1:]
    toy.apply(plain)
    assert tools.git_picture(outer)[1:3] == before[:2]
    assert status(toy.project, plain, None).state == "applied"
    unapply(toy.project, plain, None)
    assert tools.git_picture(outer)[1:] == before
