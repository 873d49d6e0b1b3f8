# SPDX-License-Identifier: Apache-2.0
"""JSON, written from dataclasses and read from what others may have changed.

What is wrong with what is read is one sentence, never a traceback.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmparity.errors import MmparityError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Form = TypeVar("Form")
SHOWN = 120
DEEPEST = 60
"""Lists and objects inside each other; what is written here has ten at most."""
LARGEST = (1 << 63) - 1
LONGEST = 4000


def plain(value: Any) -> Any:
    """What JSON stores of a dataclass, at any depth.

    A field's metadata may have the ``key`` it is stored under; None: it is not. A
    number that is not finite, which JSON has no word for, is a string.
    """
    if is_dataclass(value):
        keys = {
            item.name: item.metadata.get("key", item.name) for item in fields(value)
        }
        return {k: plain(getattr(value, name)) for name, k in keys.items() if k}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("-Infinity", "Infinity")[value > 0]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """The text of a file that stores it, in strict JSON."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def read_json(file: Path, limit: int | None = None) -> Any:
    """The content of a file of at most ``limit`` bytes.

    Raises MmparityError where it is missing, too large or not JSON, and where it has
    numbers of more than 63 bits or brackets without end, which nothing here writes.
    """
    file = Path(file)
    try:
        if limit is not None and file.stat().st_size > limit:
            raise MmparityError(f"{file} is larger than {limit} bytes.")
        raw = json.loads(file.read_text(encoding="utf-8"), parse_int=_whole)
        _check(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise MmparityError(f"{file} cannot be read: {first_line(error)}") from error
    return raw


def read_versioned(
    file: Path,
    key: str,
    version: int,
    advice: str | Callable[[Any], str],
    limit: int | None = None,
) -> Any:
    """The content of a file that says at ``key`` that it is of ``version``.

    Raises MmparityError, which ends with ``advice``, where it says anything else.
    """
    raw = read_json(file, limit)
    found = raw.get(key) if isinstance(raw, dict) else None
    if found != version:
        raise MmparityError(
            f"{file} has {key} {repr(found)[:80]}; this tool reads {version}. "
            f"{advice if isinstance(advice, str) else advice(raw)}"
        )
    return raw


def validated(kind: type[Form], raw: Any, file: Path) -> Form:
    """The content as a dataclass; MmparityError names the first wrong place."""
    from pydantic import ValidationError

    hashable: Any = kind  # which no type says of a class
    form: TypeAdapter[Form] = _form(hashable)
    try:
        return form.validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Assertion failed, ")
        raise MmparityError(f"{file}: {printable(place)[:SHOWN]}: {said}") from error


@cache
def _form(kind: Any) -> TypeAdapter[Any]:
    """To make one of a result takes longer than to read it."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__


def printable(text: str) -> str:
    """The text without what would do something to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _whole(digits: str) -> int:
    if len(digits) > LONGEST:  # Python refuses these in words of its own
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _check(raw: Any) -> None:
    level, depth = [raw], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"it has more than {DEEPEST} brackets inside each other")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif type(value) is int and not -LARGEST <= value <= LARGEST:
                raise ValueError(f"it has a number of {value.bit_length()} bits")
        level, depth = below, depth + 1
