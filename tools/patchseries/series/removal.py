# SPDX-License-Identifier: Apache-2.0
"""`Remove-when`: how to see in a tree that upstream has what a patch does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from patchseries.series.lint import Finding
from patchseries.series.patch import Patch

Read = Callable[[str], bytes | None]
FORM = "`<path>:<regular expression>` or `absent <path>`"
_SHOWN = 70  # characters of a line
_LINES = 3  # a name that occurs more often comes into a file for other reasons too


class Files(Protocol):
    """A tree whose files may lie elsewhere than a patch knows."""

    def read(self, path: str) -> bytes | None: ...
    def same_name(self, path: str) -> Sequence[str]: ...


@dataclass(frozen=True)
class Sign:
    """What makes a condition hold in a tree.

    Attributes:
        text: the place, and the line that is there.
        meant: it is a line that the patch leaves too, or one that its pattern names as
            upstream's own form. Another line may hold the pattern by accident.
    """

    text: str
    meant: bool


@dataclass(frozen=True)
class Marker:
    """One condition on a tree; without a pattern, that the path is not there."""

    path: str
    pattern: re.Pattern[str] | None

    def holds(self, read: Read) -> bool:
        """Whether it is so in the tree that `read` reads."""
        content = read(self.path)
        if self.pattern is None or content is None:
            return self.pattern is None and content is None
        return bool(self.pattern.search(_text(content)))

    def sign(self, files: Files, patched: Read) -> Sign | None:
        """What makes it hold in another release, where files may have moved.

        Args:
            patched: the series' own tree, with the patch.
        """
        content = files.read(self.path)
        others = [] if content is not None else files.same_name(self.path)
        if self.pattern is None:
            if content is not None:
                return None
            moved = f", but {others[0]} is" if others else ""
            return Sign(f"{self.path} is not there{moved}", not others)
        found = list(self._signs(self.path, content, patched))
        for path in others:
            found += [
                s for s in self._signs(path, files.read(path), patched) if s.meant
            ]
        return next((sign for sign in found if sign.meant), found[0] if found else None)

    def _signs(self, path: str, content: bytes | None, patched: Read) -> Iterator[Sign]:
        assert self.pattern is not None
        own = list(_matches(self.pattern, patched(self.path)))
        lines, texts = {line for _, line, _ in own}, {text for _, _, text in own}
        for number, line, text in _matches(self.pattern, content):
            upstreams = "|" in self.pattern.pattern and text not in texts
            shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
            yield Sign(f"{path}:{number}: {shown}", line in lines or upstreams)


def _matches(
    pattern: re.Pattern[str], content: bytes | None
) -> Iterator[tuple[int, str, str]]:
    """(line number, that line without its spacing, the matching text) of each match."""
    text = _text(content or b"")
    for match in pattern.finditer(text):
        start = text.rfind("\n", 0, match.start()) + 1
        line = text[start:].partition("\n")[0]
        yield text.count("\n", 0, start) + 1, " ".join(line.split()), match[0]


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def markers(patch: Patch) -> list[Marker]:
    """The conditions of a patch, all of which must hold.

    Raises:
        ValueError: one is not of the form.
    """
    values = [v for k, v in patch.trailers if k.lower() == "remove-when"]
    return [_parse(value) for value in values]


def _parse(value: str) -> Marker:
    if value.startswith("absent "):
        return Marker(value.removeprefix("absent ").strip(), None)
    path, colon, pattern = (part.strip() for part in value.partition(":"))
    if not colon or not pattern or not path or " " in path:
        raise ValueError(f"{value!r} is neither {FORM}")
    try:
        return Marker(path, re.compile(pattern, re.MULTILINE))
    except re.error as error:
        raise ValueError(f"{value!r}: {error}") from None


def landed(patch: Patch, read: Read) -> bool:
    """Whether a tree has, by the patch's own account, what the patch does."""
    try:
        found = markers(patch)
    except ValueError:
        return False
    return bool(found) and all(marker.holds(read) for marker in found)


def landed_signs(patch: Patch, files: Files, patched: Read) -> list[Sign]:
    """What makes every condition of a patch hold in another release; else nothing."""
    try:
        found = [marker.sign(files, patched) for marker in markers(patch)]
    except ValueError:
        return []
    signs = [sign for sign in found if sign]
    return signs if len(signs) == len(found) else []


def check_removal(
    name: str, patch: Patch, base: Read, patched: Read
) -> Iterator[Finding]:
    """Findings about the trailer: it must tell the patched tree from the base."""
    try:
        found = markers(patch)
    except ValueError as error:
        yield Finding(name, patch.slug, "header", f"Remove-when: {error}")
        return
    if not found:
        return  # a missing trailer is a finding of its own
    if not landed(patch, patched):
        detail = "Remove-when does not hold in the patched tree, so it says nothing"
        yield Finding(name, patch.slug, "header", detail)
    for marker in found:
        if marker.pattern is None:
            continue
        lines = {line for line, _, _ in _matches(marker.pattern, patched(marker.path))}
        if len(lines) > _LINES:
            detail = (
                f"Remove-when holds by {len(lines)} lines of {marker.path}, so that"
            )
            detail += f" one may come for other reasons: name what is done ({_LINES} at"
            detail += " most)"
            yield Finding(name, patch.slug, "header", detail)
    if landed(patch, base):
        detail = "Remove-when holds in the unpatched tree already"
        yield Finding(name, patch.slug, "header", detail)
