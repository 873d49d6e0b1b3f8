# SPDX-License-Identifier: Apache-2.0
"""Hostile archives write nothing outside of their folder, and are refused by name."""

import io
import tarfile
import zipfile

import pytest

from patchseries.pins import unpack
from patchseries.pins.unpack import unpack_sdist, unpack_wheel


def member(name, kind=tarfile.REGTYPE, link="", text=b"x"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(text) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(text) if kind == tarfile.REGTYPE else None


def make_tar(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content)
    return path


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w") as wheel:
        for info, text in entries:
            wheel.writestr(info, text)
    return path


HOSTILE = {
    "absolute": [member("/etc/evil")],
    "absolute below the top": [member("top//etc/evil")],
    "parent": [member("top/../../evil")],
    "parent first": [member("../evil")],
    "git hooks": [member("top/.git/hooks/post-checkout")],
    "git hooks, other case": [member("top/sub/.GIT/config")],
    "backslash": [member("top/..\\evil")],
    "control characters": [member("top/a\nb")],
    "beside the top folder": [member("evil")],
    "device": [member("top/null", tarfile.CHRTYPE)],
    "pipe": [member("top/pipe", tarfile.FIFOTYPE)],
    "hard link": [member("top/a"), member("top/b", tarfile.LNKTYPE, "top/a")],
    "link out": [member("top/a", tarfile.SYMTYPE, "../../evil")],
    "absolute link": [member("top/a", tarfile.SYMTYPE, "/etc/passwd")],
    "link into git": [member("top/a", tarfile.SYMTYPE, ".git/hooks")],
    "through a link": [
        member("top/a", tarfile.SYMTYPE, "."),
        member("top/a/evil"),
    ],
    "links that lead out together": [
        member("top/d/x"),
        member("top/a", tarfile.SYMTYPE, "d/up/.."),
        member("top/d/up", tarfile.SYMTYPE, "../.."),
    ],
    "twice": [member("top/a"), member("top/a")],
    "file and folder": [member("top/a"), member("top/a/b")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tar(tmp_path, refused, name):
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    path = make_tar(tmp_path / "x.tar.gz", *HOSTILE[name])
    refused("bad-archive", unpack_sdist, path, folder)
    outside = {p for p in tmp_path.rglob("*") if folder not in (p, *p.parents)}
    assert outside == {path, folder.parent}


def test_links_that_stay_inside_are_kept(tmp_path):
    path = make_tar(
        tmp_path / "x.tar.gz",
        member("top/b", tarfile.SYMTYPE, "sub/a"),
        member("top/sub/a"),
    )
    unpack_sdist(path, tmp_path)
    assert (tmp_path / "b").read_bytes() == b"x" and (tmp_path / "b").is_symlink()


def test_too_much_is_refused(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_BYTES", 10)
    path = make_tar(tmp_path / "x.tar.gz", member("top/a", text=b"x" * 11))
    refused("bad-archive", unpack_sdist, path, tmp_path)


@pytest.mark.parametrize("cut", [10, 60])
def test_damaged(tmp_path, refused, cut):
    path = make_tar(tmp_path / "x.tar.gz", member("top/a", text=bytes(range(256)) * 9))
    path.write_bytes(path.read_bytes()[:cut])
    refused("bad-archive", unpack_sdist, path, tmp_path)
    refused("bad-archive", unpack_wheel, path, tmp_path, ())


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil", ".git/config"])
def test_hostile_wheel_names(tmp_path, refused, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = make_zip(tmp_path / "x.whl", [(zipfile.ZipInfo(name), "x")])
    refused("bad-archive", unpack_wheel, path, folder, ())
    assert list(folder.iterdir()) == []


def test_link_in_a_wheel_is_refused(tmp_path, refused):
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    path = make_zip(tmp_path / "x.whl", [(info, "/etc/passwd")])
    refused("bad-archive", unpack_wheel, path, tmp_path / "x", ())


def test_only_wanted_members(tmp_path, refused):
    path = make_zip(
        tmp_path / "x.whl",
        [(zipfile.ZipInfo("p/lib.so"), "so"), (zipfile.ZipInfo("p/x.py"), "py")],
    )
    unpack_wheel(path, tmp_path / "out", ("p/*.so",))
    assert [p.name for p in (tmp_path / "out/p").iterdir()] == ["lib.so"]
    refused("bad-archive", unpack_wheel, path, tmp_path / "out2", ("p/*.so", "q/*"))
