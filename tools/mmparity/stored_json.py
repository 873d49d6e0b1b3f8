# SPDX-License-Identifier: Apache-2.0
"""JSON that others wrote: what is wrong with it is one sentence, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmparity.errors import MmparityError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Form = TypeVar("Form")
SHOWN = 120


def read_json(file: Path, limit: int | None = None) -> Any:
    """The content of a file of at most ``limit`` bytes.

    Raises MmparityError where it is missing, too large or not JSON; a number of
    thousands of digits and brackets without end are not JSON either.
    """
    file = Path(file)
    try:
        if limit is not None and file.stat().st_size > limit:
            raise MmparityError(f"{file} is larger than {limit} bytes.")
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise MmparityError(f"{file} cannot be read: {first_line(error)}") from error


def validated(form: TypeAdapter[Form], raw: Any, file: Path) -> Form:
    """The content in its form, or an MmparityError that names the first wrong place."""
    from pydantic import ValidationError

    try:
        return form.validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MmparityError(f"{file}: {place[:SHOWN]}: {first['msg']}") from error


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__
