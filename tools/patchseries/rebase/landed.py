# SPDX-License-Identifier: Apache-2.0
"""What a release has of each patch: `patches/landed.toml`, asked of its syntax.

A patch is a list of parts, each in words, with signs that must all be seen in a tree
for upstream to have that part, in its own form or in ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.files import read_utf8
from patchseries.project import Project
from patchseries.rebase.syntax import has, scope_of, takes
from patchseries.series.removal import Files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORM = "PATH[::NAME] [has CODE|lacks CODE|takes PARAMETER], or `no PATH[::NAME]`"
_SIGN = re.compile(
    r"(?P<no>no )?(?P<path>[\w./-]+)(::(?P<scope>[\w.]+))?"
    r"( (?P<verb>has|lacks|takes) (?P<what>.+))?"
)


@dataclass(frozen=True)
class Sign:
    """One question to a tree.

    Attributes:
        scope: dotted name of a class or function; empty for the whole file.
        verb: has, lacks, takes, or empty: that it is there.
    """

    path: str
    scope: str
    verb: str
    what: str
    absent: bool

    def seen(self, files: Files) -> str:
        """Where it is so, as `path:line`; empty where it is not or cannot be told."""
        places = [self.path] if files.read(self.path) is not None else []
        places = places or list(files.same_name(self.path))
        found = [(path, line) for path in places if (line := self._line(files, path))]
        if self.absent:
            return "" if found else f"no {self.path}::{self.scope}".removesuffix("::")
        if self.verb == "lacks" and len(found) < len(places):
            return ""
        return f"{found[0][0]}:{found[0][1]}" if found else ""

    def _line(self, files: Files, path: str) -> int:
        source = (files.read(path) or b"").decode(errors="replace")
        try:
            scope = scope_of(source, self.scope)
        except SyntaxError:
            return 0
        if scope is None:
            return 0
        line = getattr(scope, "lineno", 1)
        if self.verb == "takes":
            return takes(scope, self.what)
        if self.verb == "lacks":
            return 0 if has(scope, self.what) else line
        return has(scope, self.what) if self.verb else line


@dataclass(frozen=True)
class Part:
    """Something that a patch does, and the signs that a tree does it.

    Attributes:
        signs: alternatives of each sign; one of each must be seen.
    """

    what: str
    signs: tuple[tuple[Sign, ...], ...]

    def seen(self, files: Files) -> tuple[str, ...]:
        """Where each sign is seen; nothing where one is not."""
        places = []
        for ways in self.signs:
            place = next(filter(None, (way.seen(files) for way in ways)), "")
            if not place:
                return ()
            places.append(place)
        return tuple(dict.fromkeys(places))


@dataclass(frozen=True)
class Landed:
    """What of a patch a tree has.

    Attributes:
        there: parts with the places that show it.
        missing: what is still to be done.
    """

    there: tuple[tuple[str, tuple[str, ...]], ...]
    missing: tuple[str, ...]


def look(parts: Sequence[Part], files: Files) -> Landed:
    """Ask a tree for each part of a patch."""
    seen = [(part.what, part.seen(files)) for part in parts]
    there = tuple((what, places) for what, places in seen if places)
    return Landed(there, tuple(what for what, places in seen if not places))


def read_parts(project: Project, series: str) -> Mapping[str, tuple[Part, ...]]:
    """The parts of each patch of a series that are declared; none without the file.

    Raises:
        PatchseriesError: it is no such file, or a sign is not of the form.
    """
    path = project.patches / "landed.toml"
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(read_utf8(path))
    except tomllib.TOMLDecodeError as error:
        raise PatchseriesError("bad-landed", f"{path}: {error}") from None
    if unknown := [name for name in data if not (project.patches / name).is_dir()]:
        message = f"{path}: {unknown[0]!r} is no folder of {project.patches}"
        raise PatchseriesError("bad-landed", message, 'write ["SERIES".PATCH]')
    found = {}
    for slug, parts in data.get(series, {}).items():
        found[slug] = tuple(
            Part(what, tuple(_ways(slug, text) for text in signs))
            for what, signs in parts.items()
        )
    return found


def _ways(slug: str, text: str) -> tuple[Sign, ...]:
    return tuple(_sign(slug, one.strip()) for one in text.split(" || "))


def _sign(slug: str, text: str) -> Sign:
    match = _SIGN.fullmatch(text)
    if match:
        sign = Sign(
            match["path"],
            match["scope"] or "",
            match["verb"] or "",
            match["what"] or "",
            bool(match["no"]),
        )
        try:
            scope = scope_of("", "")
            if sign.verb in ("has", "lacks") and scope is not None:
                has(scope, sign.what)
            return sign
        except (SyntaxError, IndexError):
            pass
    raise PatchseriesError("bad-landed", f"landed.toml, {slug}: {text!r} is not {FORM}")
