# SPDX-License-Identifier: Apache-2.0
"""The pins: `vllm_src/sources.toml` as data, and which file this machine needs."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchseries.errors import PatchseriesError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ANY = "any"


@dataclass(frozen=True)
class Archive:
    """One downloadable file and the tree that comes out of it.

    Attributes:
        tree: git's id of the unpacked tree, so that a later change is seen.
        python: wheel tag as `cp311`, or `any`.
        machine: `x86_64`, `aarch64`, or `any`.
    """

    file: str
    sha256: str
    tree: str
    python: str = _ANY
    machine: str = _ANY


@dataclass(frozen=True)
class Source:
    """One pinned release."""

    name: str
    version: str
    kind: str
    purpose: str
    archives: tuple[Archive, ...]
    members: tuple[str, ...] = ()

    @property
    def tree_name(self) -> str:
        return f"{self.name}-{self.version}"

    def archive(self, python: str = "", machine: str = "") -> Archive:
        """The file that serves this interpreter and machine."""
        python = python or f"cp{sys.version_info[0]}{sys.version_info[1]}"
        machine = machine or _machine()
        for archive in self.archives:
            if archive.python in (_ANY, python) and archive.machine in (_ANY, machine):
                return archive
        pinned = sorted({f"{a.python}/{a.machine}" for a in self.archives})
        raise PatchseriesError(
            "no-pin",
            f"{self.tree_name} has no file for {python} on {machine}; "
            f"pinned: {', '.join(pinned)}",
            "use one of these, or add a pin to vllm_src/sources.toml",
        )


def _machine() -> str:
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def read_sources(path: Path) -> dict[str, Source]:
    """Every pin by tree name."""
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise PatchseriesError("no-pins", f"{path} does not exist") from None
    except tomllib.TOMLDecodeError as error:
        raise PatchseriesError("bad-pins", f"{path}: {error}") from None
    sources = [_source(entry, path) for entry in data.get("source", [])]
    return {source.tree_name: source for source in sources}


def _source(entry: dict[str, Any], path: Path) -> Source:
    try:
        source = Source(
            name=entry["name"],
            version=entry["version"],
            kind=entry["kind"],
            purpose=entry["purpose"],
            archives=tuple(Archive(**a) for a in entry["archive"]),
            members=tuple(entry.get("members", ())),
        )
    except (KeyError, TypeError) as error:
        shown = entry.get("name", "?")
        raise PatchseriesError("bad-pins", f"{path}: {shown}: {error}") from None
    if source.kind not in ("sdist", "wheel"):
        raise PatchseriesError(
            "bad-pins", f"{path}: {source.name}: kind {source.kind!r}: sdist or wheel"
        )
    for archive in source.archives:
        if not re.fullmatch("[0-9a-f]{64}", archive.sha256):
            raise PatchseriesError("bad-pins", f"{path}: {archive.file}: bad sha256")
    return source


def select(sources: dict[str, Source], names: list[str]) -> list[Source]:
    """The named sources; a name is a tree name or all of a package's pins."""
    if not names:
        return list(sources.values())
    chosen: dict[str, Source] = {}
    for name in names:
        hits = {k: s for k, s in sources.items() if name in (k, s.name)}
        if not hits:
            known = ", ".join(sources)
            raise PatchseriesError(
                "unknown-source", f"{name!r} is not pinned; pinned: {known}"
            )
        chosen |= hits
    return list(chosen.values())
