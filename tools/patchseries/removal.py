# SPDX-License-Identifier: Apache-2.0
"""`Remove-when`: how to see in a tree that upstream has what a patch does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from patchseries.lint import Finding
from patchseries.series import Patch

Read = Callable[[str], bytes | None]
FORM = "`<path>:<regular expression>` or `absent <path>`"


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
        return bool(self.pattern.search(content.decode(errors="replace")))


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
    if landed(patch, base):
        detail = "Remove-when holds in the unpatched tree already"
        yield Finding(name, patch.slug, "header", detail)
