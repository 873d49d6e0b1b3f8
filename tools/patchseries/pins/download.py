# SPDX-License-Identifier: Apache-2.0
"""A pinned file into the cache: resumed when cut off, never accepted unverified."""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from patchseries.errors import PatchseriesError
from patchseries.locks import locked
from patchseries.pins.index import find_urls, make_client, read_settings
from patchseries.pins.sources import Archive, Source
from patchseries.project import cache_folder

_CHUNK = 1 << 18
_ATTEMPTS = 4  # per place: a cut connection goes on where it stopped


def download(source: Source, archive: Archive) -> Path:
    """The verified file in the cache, downloaded when it is not there yet."""
    folder = cache_folder() / archive.sha256[:16]
    with _clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, patience_s=1800):
            path = folder / archive.file
            if path.exists() and sha256_of(path) == archive.sha256:
                return path
            path.unlink(missing_ok=True)
            _download_anywhere(source, archive, path)
            return path


def sha256_of(path: Path) -> str:
    """Hash of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download_anywhere(source: Source, archive: Archive, path: Path) -> None:
    settings = read_settings()
    failures: list[PatchseriesError] = []
    with make_client(settings) as client:
        for url in find_urls(source, archive, client, settings):
            try:
                return _download_from(client, url, archive, path)
            except PatchseriesError as error:
                failures.append(error)
    raise failures[-1]


def _download_from(client: Any, url: str, archive: Archive, path: Path) -> None:
    """One place, resuming; a resumed file that is wrong is tried again from zero."""
    part = path.with_name(path.name + ".part")
    for attempt in range(_ATTEMPTS):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _receive(client, url, part, archive.file)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise PatchseriesError(
                "download-failed", f"{archive.file}: the server answered {status}"
            ) from None
        except httpx2.HTTPError as error:
            if attempt + 1 < _ATTEMPTS:
                continue
            size = part.stat().st_size if part.exists() else 0
            raise PatchseriesError(
                "download-cut-off",
                f"{archive.file}: {error or type(error).__name__} after {size:,} bytes",
                "run the command again: it goes on where it stopped",
            ) from None
        actual = sha256_of(part)
        if actual == archive.sha256:
            part.rename(path)
            return
        size = part.stat().st_size
        part.unlink()
        if not resumed:
            break
    raise PatchseriesError(
        "wrong-hash",
        f"{archive.file} ({size:,} bytes) has sha256 {actual}, pinned is "
        f"{archive.sha256}; the file was thrown away",
        "the index serves another file, or only a part of it: try another index",
    )


def _receive(client: Any, url: str, part: Path, shown: str) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with client.stream("GET", url, headers=headers, follow_redirects=True) as response:
        if response.status_code == 416:  # nothing is left to send
            return
        response.raise_for_status()
        if response.status_code != 206:
            have = 0
        total = int(response.headers.get("Content-Length", 0)) + have or None
        with part.open("ab" if have else "wb") as file, _bar(shown, total, have) as bar:
            for chunk in response.iter_raw():
                file.write(chunk)
                bar(len(chunk))


@contextmanager
def _bar(shown: str, total: int | None, done: int) -> Iterator[Any]:
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        size = f" ({total / 1e6:.1f} MB)" if total else ""
        console.print(f"downloading {shown}{size}", highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(shown, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


@contextmanager
def _clear_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PatchseriesError(
                "disk-full", f"no space left in {folder}", "free some, then run again"
            ) from None
        raise PatchseriesError(
            "cache-unusable",
            f"{folder}: {error.strerror or error}",
            "point PATCHSERIES_CACHE at a folder that can be written",
        ) from None
