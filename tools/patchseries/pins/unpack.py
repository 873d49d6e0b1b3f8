# SPDX-License-Identifier: Apache-2.0
"""An archive into a new folder. Archives are taken to be hostile.

Nothing is written outside of the folder, nothing but plain files, folders and links
that stay inside is made, and no `.git` comes out of an archive.
"""

from __future__ import annotations

import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Protocol

from patchseries.errors import PatchseriesError

MAX_BYTES = 4 << 30
MAX_MEMBERS = 200_000
_CHUNK = 1 << 20


class Readable(Protocol):
    """An open file, as far as it is needed here."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """One entry of an archive, before anything was checked.

    Attributes:
        link: target of a symbolic link, else empty.
    """

    name: str
    kind: str  # "file", "folder", "link" or what else it is
    executable: bool
    content: Readable | None = None
    link: str = ""


def unpack_sdist(archive: Path, folder: Path) -> None:
    """A `.tar.gz` without its one top folder."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            _write((_without_top(m) for m in _tar_members(tar)), folder, archive.name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _bad(archive.name, f"cannot be read: {error}") from None


def unpack_wheel(archive: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """The members of a wheel that match one of the patterns, all when none is given."""
    try:
        with zipfile.ZipFile(archive) as wheel:
            members = [
                m
                for m in _zip_members(wheel)
                if not wanted or any(fnmatchcase(m.name, w) for w in wanted)
            ]
            for pattern in wanted:
                if not any(fnmatchcase(m.name, pattern) for m in members):
                    raise _bad(archive.name, f"nothing matches {pattern!r}")
            _write(iter(members), folder, archive.name)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise _bad(archive.name, f"cannot be read: {error}") from None


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isreg():
            kind = "file"
        elif info.isdir():
            kind = "folder"
        elif info.issym():
            kind = "link"
        else:
            kind = "hard link" if info.islnk() else "device"
        content = tar.extractfile(info) if kind == "file" else None
        yield Member(info.name, kind, bool(info.mode & 0o100), content, info.linkname)


def _zip_members(wheel: zipfile.ZipFile) -> Iterator[Member]:
    for info in wheel.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            kind = "folder"
        else:
            kind = "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "special file"
        if info.flag_bits & 1:
            kind = "encrypted file"
        content = None if kind != "file" else _Lazy(wheel, info)
        yield Member(info.filename, kind, bool(mode & 0o100), content)


class _Lazy:
    """Opens a zip member when it is read: only wanted ones cost anything."""

    def __init__(self, wheel: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._open = lambda: wheel.open(info)
        self._file: IO[bytes] | None = None

    def read(self, size: int) -> bytes:
        self._file = self._file or self._open()
        return self._file.read(size)


def _without_top(member: Member) -> Member:
    name = member.name.removeprefix("./")
    top, _, rest = name.partition("/")
    if not rest and member.kind != "folder":
        raise _bad("archive", f"{member.name!r} lies beside the top folder")
    if top in ("", ".."):
        raise _bad("archive", f"unsafe path {member.name!r}")
    return Member(rest, member.kind, member.executable, member.content, member.link)


def _write(members: Iterator[Member], folder: Path, shown: str) -> None:
    budget, links = MAX_BYTES, []
    for count, member in enumerate(members):
        if count >= MAX_MEMBERS:
            raise _bad(shown, f"more than {MAX_MEMBERS:,} members")
        if member.kind == "folder" and member.name.strip("/") in ("", "."):
            continue
        path = _safe_path(folder, member.name.rstrip("/"), shown)
        if member.kind == "folder":
            _make_folder(path, shown)
        elif member.kind == "file":
            _make_folder(path.parent, shown)
            budget -= _copy(member, path, budget, shown)
        elif member.kind == "link":
            links.append((path, member))
        else:
            raise _bad(shown, f"{member.name!r} is a {member.kind}")
    for path, member in links:  # last, so that nothing is written through one
        _make_link(path, member, folder, shown)


def _safe_path(folder: Path, name: str, shown: str) -> Path:
    parts = name.split("/")
    if (
        name.startswith("/")
        or "\\" in name
        or any(p in ("", ".", "..") or p.casefold() == ".git" for p in parts)
        or any(ord(c) < 32 for c in name)
    ):
        raise _bad(shown, f"unsafe path {name!r}")
    return folder.joinpath(*parts)


def _make_folder(path: Path, shown: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _bad(shown, f"{path.name!r} is a file and a folder") from None


def _copy(member: Member, path: Path, budget: int, shown: str) -> int:
    assert member.content is not None
    written = 0
    try:
        with path.open("xb") as out:
            while chunk := member.content.read(_CHUNK):
                written += len(chunk)
                if written > budget:
                    raise _bad(shown, f"unpacks to more than {MAX_BYTES:,} bytes")
                out.write(chunk)
    except (FileExistsError, IsADirectoryError):
        raise _bad(shown, f"{member.name!r} comes twice") from None
    path.chmod(0o755 if member.executable else 0o644)
    return written


def _make_link(path: Path, member: Member, folder: Path, shown: str) -> None:
    inside = posixpath.join(posixpath.dirname(member.name), member.link)
    resolved = posixpath.normpath(inside)
    if member.link.startswith("/") or resolved.split("/")[0] in ("..", ".git"):
        raise _bad(shown, f"link {member.name!r} leaves the tree: {member.link!r}")
    _make_folder(path.parent, shown)
    try:
        path.symlink_to(member.link)
    except FileExistsError:
        raise _bad(shown, f"{member.name!r} comes twice") from None
    if not path.resolve().is_relative_to(folder.resolve()):
        path.unlink()
        raise _bad(shown, f"link {member.name!r} leaves the tree: {member.link!r}")


def _bad(shown: str, why: str) -> PatchseriesError:
    return PatchseriesError("bad-archive", f"{shown}: {why}")
