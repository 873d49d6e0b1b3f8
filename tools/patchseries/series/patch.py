# SPDX-License-Identifier: Apache-2.0
"""One patch file as data: header, message, trailers, and what it does to each path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser

from patchseries.errors import PatchseriesError
from patchseries.git import State

_TRAILER = re.compile(r"^([A-Z][A-Za-z-]*): (.*\S)\s*$")
_HUNK = re.compile(rb"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_SLUG_WORDS = re.compile(r"[^a-z0-9]+")
_FILE_MODES = ("100644", "100755")


@dataclass(frozen=True)
class FileChange:
    """What one patch does to one path, by content."""

    path: str
    old: State
    new: State
    added: int
    removed: int


@dataclass(frozen=True)
class Patch:
    """One patch file.

    Attributes:
        slug: file name without `.patch`.
        message: subject, blank line, body with trailers; ends with a newline.
    """

    slug: str
    data: bytes
    message: str
    changes: tuple[FileChange, ...]

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]

    @property
    def trailers(self) -> list[tuple[str, str]]:
        return split_trailers(self.message)[1]

    @property
    def explanation(self) -> str:
        """The body without its trailers."""
        return split_trailers(self.message)[0].partition("\n")[2].strip()

    def trailer(self, key: str) -> str:
        """All values of one trailer, joined; empty when it is missing."""
        return "; ".join(v for k, v in self.trailers if k.lower() == key.lower())

    @property
    def added(self) -> int:
        return sum(change.added for change in self.changes)

    @property
    def removed(self) -> int:
        return sum(change.removed for change in self.changes)


def parse_patch(slug: str, data: bytes) -> Patch:
    """A patch file as `refresh` writes it.

    Raises:
        PatchseriesError: not of that form, or it does what a series may not.
    """
    if data.partition(b"\n")[0].endswith(b"\r"):
        raise PatchseriesError(
            "bad-patch",
            f"{slug}.patch has line ends that its clone converted (core.autocrlf?)",
            "in this project: `rm -r patches && git checkout HEAD -- patches`",
        )
    head, blank, rest = data.partition(b"\n\n")
    headers = BytesHeaderParser().parsebytes(head.partition(b"\n")[2] + b"\n\n")
    if not blank or not head.startswith(b"From ") or "Subject" not in headers:
        raise _malformed(slug, "has no mail header")
    subject = str(make_header(decode_header(headers["Subject"])))
    subject = re.sub(r"\n[ \t]", " ", subject.replace("\r", ""))
    body, separator, diff = (b"\n" + rest).partition(b"\ndiff --git ")
    try:
        text = body.partition(b"\n---\n")[0].decode().strip("\n")
    except UnicodeDecodeError as error:
        raise _malformed(slug, f"has a message that is not UTF-8 ({error})") from None
    message = f"{subject}\n\n{text}\n" if text else f"{subject}\n"
    changes = tuple(_parse_diff(slug, separator[1:] + diff))
    if not changes:
        raise _malformed(slug, "changes nothing")
    return Patch(slug, data, message, changes)


def file_sections(patch: Patch) -> dict[str, list[bytes]]:
    """Per path, the lines of its hunks in the patch file."""
    diff = patch.data[patch.data.index(b"\ndiff --git ") + 1 :]
    return {
        _path_of(patch.slug, lines[0]): lines[_first_hunk(lines) :]
        for lines in _sections(diff)
    }


def _first_hunk(lines: list[bytes]) -> int:
    hunks = (i for i, line in enumerate(lines) if _HUNK.match(line))
    return next(hunks, len(lines))


def _sections(diff: bytes) -> Iterable[list[bytes]]:
    lines = diff.split(b"\n")
    starts = [i for i in _outside_hunks(lines) if lines[i].startswith(b"diff --git ")]
    ends = [*starts, len(lines)][1:]
    return [lines[start:end] for start, end in zip(starts, ends, strict=True)]


def _parse_diff(slug: str, diff: bytes) -> Iterable[FileChange]:
    for lines in _sections(diff):
        yield _parse_file(slug, lines)


def _outside_hunks(lines: list[bytes]) -> Iterable[int]:
    """Positions of the lines that are no hunk's content."""
    i = 0
    while i < len(lines):
        yield i
        hunk = _HUNK.match(lines[i])
        i += 1
        if hunk:
            old, new = (int(n or 1) for n in hunk.groups())
            while i < len(lines) and (old > 0 or new > 0):
                kind = lines[i][:1]
                old -= kind in (b" ", b"-", b"")
                new -= kind in (b" ", b"+", b"")
                i += 1


def _parse_file(slug: str, lines: list[bytes]) -> FileChange:
    path = _path_of(slug, lines[0])
    found: dict[str, str] = {}
    added = removed = 0
    outside = set(_outside_hunks(lines))
    for number, line in enumerate(lines):
        if number not in outside:
            added += line.startswith(b"+")
            removed += line.startswith(b"-")
            continue
        text = line.decode(errors="replace")
        for key in ("old mode ", "new mode ", "new file mode ", "deleted file mode "):
            if text.startswith(key):
                found[key.strip()] = text.removeprefix(key)
        if text.startswith("index "):
            ids, _, found["mode"] = text.removeprefix("index ").partition(" ")
            found["old"], _, found["new"] = ids.partition("..")
        if text.startswith(("rename ", "copy ", "similarity ")):
            raise _malformed(slug, f"{path}: is written as a rename")
    if not re.fullmatch("[0-9a-f]{40}", found.get("new", "")):
        raise _malformed(slug, f"{path}: has no full blob ids (a pure mode change?)")
    old_mode = found.get("old mode") or found.get("deleted file mode") or found["mode"]
    new_mode = found.get("new mode") or found.get("new file mode") or found["mode"]
    for mode in filter(None, (old_mode, new_mode)):
        if mode not in _FILE_MODES:
            raise _malformed(slug, f"{path}: mode {mode} is neither file nor program")
    return FileChange(
        path,
        None if "new file mode" in found else (old_mode, found["old"]),
        None if "deleted file mode" in found else (new_mode, found["new"]),
        added,
        removed,
    )


def _path_of(slug: str, line: bytes) -> str:
    text = os.fsdecode(line.removeprefix(b"diff --git "))
    path = text[2 : 2 + (len(text) - 5) // 2]
    parts = path.split("/")
    if (
        text != f"a/{path} b/{path}"
        or any(p in ("", ".", "..") or p.casefold() == ".git" for p in parts)
        or parts[0] == ".patchseries"
    ):
        raise _malformed(slug, f"unusable path in {text!r}")
    return path


def _malformed(slug: str, why: str) -> PatchseriesError:
    return PatchseriesError(
        "bad-patch",
        f"{slug}.patch {why}",
        "`patchseries refresh` writes the right form",
    )


def split_trailers(message: str) -> tuple[str, list[tuple[str, str]]]:
    """A message without its last paragraph, when that is all trailers; and those.

    >>> split_trailers("t\\n\\nWhy.\\n\\nRelated: none\\n")
    ('t\\n\\nWhy.', [('Related', 'none')])
    """
    text, _, last = message.rstrip("\n").rpartition("\n\n")
    # A long value goes on in indented lines.
    lines = re.sub(r"\n[ \t]+", " ", last).splitlines()
    found = [m.groups() for line in lines if (m := _TRAILER.match(line))]
    if not text or len(found) != len(lines):
        return message.rstrip("\n"), []
    return text, [(key, value) for key, value in found]


def without_trailers(message: str, keys: Iterable[str]) -> str:
    """The message with some trailers left out, every other byte kept."""
    dropped = tuple(f"{key.lower()}:" for key in keys)
    text, _, last = message.rstrip("\n").rpartition("\n\n")
    if not split_trailers(message)[1]:
        return message.rstrip("\n") + "\n"
    kept, skipping = [], False
    for line in last.splitlines():
        skipping = line.lower().startswith(dropped) or (skipping and line[:1] in " \t")
        if not skipping:
            kept.append(line)
    return text + ("\n\n" + "\n".join(kept) if kept else "") + "\n"


def slug_of(subject: str) -> str:
    """File name for a title, without its tags.

    >>> slug_of("[Core][MM] Add `MMEncoderAttention` as CustomOp")
    'add-mmencoderattention-as-customop'
    """
    title = re.sub(r"^(\[[^\]]*\]\s*)+", "", subject)
    words = _SLUG_WORDS.sub("-", title.lower()).strip("-")
    if len(words) > 60:
        words = words[:60].rpartition("-")[0] or words[:60]
    return words or "patch"
