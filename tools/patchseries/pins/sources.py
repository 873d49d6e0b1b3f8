# SPDX-License-Identifier: Apache-2.0
"""The pins: `vllm_src/sources.toml` as data, and which file this machine needs."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patchseries.errors import PatchseriesError
from patchseries.files import read_utf8

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
class Gate:
    """One of upstream's own checks of a change.

    Attributes:
        needs: `distribution==version` for each tool that it runs.
        command: without the files; `python` is this interpreter.
        files: which of a patch's files it is given; without it, it looks at what git
            has staged and gets none.
        exclude: files that upstream leaves out.
    """

    name: str
    needs: tuple[str, ...]
    command: str
    files: str = ""
    exclude: str = ""


@dataclass(frozen=True)
class TestSetup:
    """How the tree's tests run without its own installation.

    Attributes:
        options: of pytest.
        plugins: pytest plugins, by module.
        import_from: folders of this project that those modules need.
        trees: trees before this one on the path; those with a series have it applied.
        libraries: file in the tree -> file of another pinned tree.
        distributions: name -> version that the tests find installed.
        upstream: test files of the release that must give the same results after.
    """

    __test__ = False

    options: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    import_from: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    distributions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One pinned release.

    Attributes:
        package: the importable folder of the tree, where it has a series.
        optional: fetched only when it is named or everything is asked for.
        environment: what its tests and gates run with; empty for the project's own.
        derived_from: the tree whose series is merged into this one to make its own.
        without: patches of that series that are left out.
    """

    name: str
    version: str
    kind: str
    purpose: str
    archives: tuple[Archive, ...]
    members: tuple[str, ...] = ()
    package: str = ""
    optional: bool = False
    environment: str = ""
    derived_from: str = ""
    without: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    tests: TestSetup | None = None

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
        data = tomllib.loads(read_utf8(path))
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
            package=entry.get("package", ""),
            optional=entry.get("optional", False),
            environment=entry.get("environment", ""),
            derived_from=entry.get("derived_from", ""),
            without=tuple(entry.get("without", ())),
            gates=tuple(Gate(**_frozen(gate)) for gate in entry.get("gate", [])),
            tests=TestSetup(**_frozen(entry["tests"])) if "tests" in entry else None,
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


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}


def select(
    sources: dict[str, Source], names: list[str], optional: bool = False
) -> list[Source]:
    """The named sources; a name is a tree name or all of a package's pins.

    Without a name: those that every checkout needs, and the ``optional`` ones if asked.
    """
    if not names:
        return [one for one in sources.values() if optional or not one.optional]
    chosen: dict[str, Source] = {}
    for name in names:
        hits = {k: s for k, s in sources.items() if name in (k, s.name)}
        if not hits:
            known = ", ".join(sources)
            raise PatchseriesError(
                "unknown-source",
                f"{name!r} is not pinned; pinned: {known}",
                "give one of these, or a name without its version for all of its pins",
            )
        chosen |= hits
    return list(chosen.values())
