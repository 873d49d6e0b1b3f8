# SPDX-License-Identifier: Apache-2.0
"""Lines that no case executes against the reasons that are given for them.

Pure: sources, executed lines and reasons in, findings out. A reason names code and
not line numbers, so that it moves with the code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REASONS = Path(__file__).with_name("reasons.toml")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Reason:
    """Why some code is not executed.

    Attributes:
        code: text of the file, wherever it stands; empty for a whole function.
        function: its qualified name, where the reason is for all of it.
        why: the reason, as a sentence.
    """

    why: str
    code: str = ""
    function: str = ""

    @property
    def about(self) -> str:
        """What it is for, in one line."""
        return self.function or self.code.strip().splitlines()[0].strip()


@dataclass(frozen=True)
class Watched:
    """A file whose code must be executed, and the code that need not be.

    Attributes:
        file: the source (``vllm`` or ``vllm-ascend``), then the path in its tree.
        only: patterns of classes and functions that are watched; empty for all.
        reasons: of what is not executed.
    """

    file: str
    only: tuple[str, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Finding:
    """Something about a file that must be mended.

    ``lines`` are those that were not executed, for a reason that does not hold
    those that were.
    """

    file: str
    lines: tuple[int, ...]
    text: str


def read(file: Path = REASONS) -> tuple[Watched, ...]:
    """The watched files."""
    return tuple(
        _watched(entry, file) for entry in tomllib.loads(file.read_text())["file"]
    )


def _watched(entry: dict[str, Any], file: Path) -> Watched:
    try:
        reasons = tuple(Reason(**item) for item in entry.get("not_executed", ()))
        found = Watched(entry["path"], tuple(entry.get("only", ())), reasons)
    except (KeyError, TypeError) as error:
        raise MmparityError(f"{file}: {entry.get('path')}: {error}") from error
    for reason in reasons:
        if bool(reason.code) == bool(reason.function) or not reason.why:
            raise MmparityError(
                f"{file}: {found.file}: a reason needs `why` and one of `code` and "
                f"`function`, not {reason}"
            )
    return found


def findings(
    watched: Watched, source: str, statements: Sequence[int], missing: Sequence[int]
) -> Iterator[Finding]:
    """Lines without a reason, and reasons that do not hold.

    Args:
        watched: what of the file is watched.
        source: its text.
        statements: numbers of the lines that can be executed.
        missing: those of them that were not.
    """
    scopes = dict(_scopes(ast.parse(source)))
    inside = _inside(watched, scopes)
    left = {line for line in missing if line in inside}
    for reason in watched.reasons:
        lines = _lines_of(reason, source, scopes)
        claimed = lines & set(statements)
        executed = tuple(sorted(claimed - set(missing)))
        if not lines:
            yield Finding(watched.file, (), f"{reason.about!r} is not in it")
        elif not claimed:
            yield Finding(watched.file, (), f"{reason.about!r} is no statement")
        elif executed:
            text = f"{reason.about!r} is executed, so it needs no reason"
            yield Finding(watched.file, executed, text)
        left -= claimed
    rows = source.splitlines()
    for line in sorted(left):
        text = f"not executed, without a reason: {rows[line - 1].strip()}"
        yield Finding(watched.file, (line,), text)


def _inside(watched: Watched, scopes: dict[str, range]) -> set[int]:
    """The lines that are watched."""
    if not watched.only:
        return {line for lines in scopes.values() for line in lines}
    found: set[int] = set()
    for pattern in watched.only:
        named = [lines for name, lines in scopes.items() if fnmatchcase(name, pattern)]
        if not named:
            raise MmparityError(f"{watched.file} has no {pattern!r}. Mend {REASONS}.")
        found |= {line for lines in named for line in lines}
    return found


def _lines_of(reason: Reason, source: str, scopes: dict[str, range]) -> set[int]:
    """The lines that a reason is for; a function's without those of its head."""
    if reason.function:
        return set(scopes.get(reason.function, ()))
    code = reason.code.strip("\n")
    found: set[int] = set()
    start = source.find(code)
    while start >= 0:
        first = source.count("\n", 0, start) + 1
        found |= set(range(first, first + code.count("\n") + 1))
        start = source.find(code, start + 1)
    return found


def _scopes(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, range]]:
    """Qualified name and lines of each class, and of each function's body."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _DEFINITIONS):
            yield from _scopes(child, prefix)
            continue
        name = prefix + child.name
        first = (
            child.lineno if isinstance(child, ast.ClassDef) else child.body[0].lineno
        )
        yield name, range(first, (child.end_lineno or first) + 1)
        yield from _scopes(child, f"{name}.")
