# SPDX-License-Identifier: Apache-2.0
"""How two encoders differ in what they are made of, and which patch intends it.

``patches/intended.toml`` is data, read here and by nobody else. Of a pair that a series
joins, a difference that it does not list is undeclared. No patch makes the differences
of another pair, as of two releases: they are shown and not judged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError
from mmparity.project import PATCHES
from mmparity.types.comparison import StructuralDifference
from mmparity.types.trace import TraceMeta

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DATA = PATCHES / "intended.toml"
PARTS = (
    "modules",
    "parameters",
    "buffers",
    "signatures",
    "hyper_parameters",
    "state_dict",
)
KINDS = {
    "values_changed": "changed",
    "dictionary_item_added": "only in new",
    "dictionary_item_removed": "only in old",
}
NOT_JOINED = "no series leads from old to new, so no patch could declare it"
"""Why the structure of a pair is not judged."""
_BLOCK = re.compile(r"\b(blocks|layers?|resblocks)\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class Intention:
    """Differences that a patch makes on purpose. Patterns are the shell's.

    Attributes:
        patch: its slug, or ``upstream`` for what vLLM changed between releases.
        why: in one sentence.
        parts: some of PARTS.
        paths: patterns of paths, ``blocks.{i}`` (or its list's name) for every block.
        old: pattern of the text in old; empty where it has none.
        new: that in new.
        pairs: patterns of ``OLD:NEW`` implementations.
        some_blocks: also where it is so in some blocks only; without it, a block
            that alone is made otherwise is undeclared.
    """

    patch: str
    why: str
    parts: tuple[str, ...]
    paths: tuple[str, ...]
    old: str = "*"
    new: str = "*"
    pairs: tuple[str, ...] = ("*",)
    some_blocks: bool = False

    def fits(self, found: StructuralDifference, pair: str, depth: int) -> bool:
        """Whether this is what the patch is meant to do."""
        return (
            found.part in self.parts
            and (not found.blocks or self.some_blocks or len(found.blocks) == depth)
            and any(fnmatchcase(found.path, path) for path in self.paths)
            and any(fnmatchcase(pair, wanted) for wanted in self.pairs)
            and fnmatchcase(found.old, self.old)
            and fnmatchcase(found.new, self.new)
        )


@dataclass(frozen=True)
class Declarations:
    """The data file: what is judged, and what of it is intended.

    Attributes:
        joined: patterns of ``OLD:NEW`` where a series leads from old to new.
        intentions: the ``[[difference]]`` entries.
    """

    joined: tuple[str, ...]
    intentions: tuple[Intention, ...]

    def judges(self, old: str, new: str) -> bool:
        """Whether a difference of the pair must be declared.

        So it is where a series joins the pair, and between two trees of one
        implementation, which have nothing to differ in.
        """
        pair = f"{old}:{new}"
        return old == new or any(fnmatchcase(pair, item) for item in self.joined)


@cache
def read_declarations(file: Path = DATA) -> Declarations:
    """What the data file says; MmparityError where it cannot be read so."""
    try:
        data = tomllib.loads(file.read_text())
        joined = data["joined"]
        if not isinstance(joined, list) or not all(":" in item for item in joined):
            raise ValueError(f"joined = {joined}: no list of OLD:NEW")
        entries = tuple(_intention(dict(entry)) for entry in data["difference"])
        return Declarations(tuple(joined), entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        names = ", ".join(item.name for item in fields(Intention))
        raise MmparityError(
            f"{file} is no list of intended differences: {error}. It needs joined, and "
            f"[[difference]] entries of {names}; parts are of {', '.join(PARTS)}."
        ) from error


def _intention(entry: dict[str, Any]) -> Intention:
    for name in ("parts", "paths", "pairs"):
        if name in entry:
            entry[name] = tuple(entry[name])
    made = Intention(**entry)
    known = made.parts and set(made.parts) <= set(PARTS)
    if not (known and made.paths and made.patch and made.why):
        raise ValueError(f"{entry}: an unknown part, or no path, patch or reason")
    return made


def is_recorded(meta: TraceMeta) -> bool:
    """Whether a trace says what its encoder is made of; foreign ones may not."""
    return bool(meta.modules)


def differences(
    old: TraceMeta, new: TraceMeta, file: Path = DATA
) -> tuple[StructuralDifference, ...]:
    """Every difference: intended, undeclared, or of a pair that is not judged."""
    if not (is_recorded(old) and is_recorded(new)):
        return (_unrecorded(old, new),)
    declared = read_declarations(file)
    sides = _of_common_modules(old, new)
    found = (
        item
        for part in PARTS
        for item in _merged(part, _changes(*(getattr(side, part) for side in sides)))
    )
    if not declared.judges(old.implementation, new.implementation):
        return tuple(
            replace(item, verdict="not judged", why=NOT_JOINED) for item in found
        )
    pair = f"{old.implementation}:{new.implementation}"
    return tuple(_judged(item, pair, old.depth, declared.intentions) for item in found)


def _of_common_modules(*sides: TraceMeta) -> list[TraceMeta]:
    """A module that one side alone has is one difference: its signature is none."""
    common = set.intersection(*(set(side.modules) for side in sides))
    return [
        replace(
            side,
            signatures={
                path: text for path, text in side.signatures.items() if path in common
            },
        )
        for side in sides
    ]


def without_structure(meta: TraceMeta) -> TraceMeta:
    """A trace's description for a result, where the differences stand beside it."""
    return replace(
        meta,
        modules={},
        parameters={},
        buffers={},
        signatures={},
        state_dict={},
        code={},
    )


def _unrecorded(old: TraceMeta, new: TraceMeta) -> StructuralDifference:
    """What stands for the differences where a trace says nothing of its encoder."""
    was, now = (
        f"{len(meta.modules)} modules" if is_recorded(meta) else "not recorded"
        for meta in (old, new)
    )
    place = "the whole encoder"
    return StructuralDifference(
        "modules", "changed", place, (), was, now, "not recorded"
    )


def _judged(
    found: StructuralDifference, pair: str, depth: int, known: tuple[Intention, ...]
) -> StructuralDifference:
    for item in known:
        if item.fits(found, pair, depth):
            return replace(found, verdict="intended", patch=item.patch, why=item.why)
    return found


@dataclass(frozen=True)
class _Change:
    kind: str
    path: str
    old: str
    new: str


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[_Change]:
    """deepdiff of two mappings, over what differs: it is slow, and most is equal."""
    from deepdiff import DeepDiff

    texts = [{key: _text(value) for key, value in side.items()} for side in (old, new)]
    same = texts[0].items() & texts[1].items()
    left, right = (
        {key: text for key, text in side.items() if (key, text) not in same}
        for side in texts
    )
    found = DeepDiff(left, right, view="tree", threshold_to_diff_deeper=0)
    for kind, items in found.items():
        for item in items:
            (path,) = item.path(output_format="list")
            yield _Change(KINDS[kind], path, left.get(path, ""), right.get(path, ""))


def _text(value: object) -> str:
    """A tensor as ``3840 x 1280 bfloat16``, the rest as it prints."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        shape, dtype = value
        if isinstance(shape, (list, tuple)) and isinstance(dtype, str):
            return f"{' x '.join(map(str, shape)) or 'scalar'} {dtype}"
    return str(value)


def _merged(part: str, changes: Iterator[_Change]) -> list[StructuralDifference]:
    """Says once what is so in many blocks; 32 equal lines hide the 33rd."""
    found: dict[_Change, list[int]] = {}
    for change in changes:
        number = _BLOCK.search(change.path)
        path = _BLOCK.sub(r"\1.{i}", change.path, count=1)
        key = _Change(change.kind, path, change.old, change.new)
        found.setdefault(key, []).extend([int(number[2])] if number else [])
    return sorted(
        (
            StructuralDifference(
                part, c.kind, c.path, tuple(sorted(blocks)), c.old, c.new, "undeclared"
            )
            for c, blocks in found.items()
        ),
        key=lambda item: (item.path, item.kind, item.blocks),
    )
