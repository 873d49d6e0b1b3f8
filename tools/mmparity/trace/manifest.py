# SPDX-License-Identifier: Apache-2.0
"""``trace.json``: what it says, and how it is read without trust."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mmparity.errors import MmparityError
from mmparity.types.trace import TRACE_VERSION, Statistics, TensorRecord, TraceMeta

MANIFEST = "trace.json"
MANIFEST_LIMIT = 64 << 20


@dataclass(frozen=True)
class Declared:
    """A module or hook point of which the capture says that it has no partner."""

    path: str
    reason: str
    explained: bool


@dataclass(frozen=True)
class Manifest:
    """The content of ``trace.json``."""

    trace_version: int
    meta: TraceMeta
    records: tuple[TensorRecord, ...]
    unmatched: tuple[Declared, ...]
    files: dict[str, int]
    """Name -> size in bytes."""
    statistics: Statistics | None = None
    """Of a trace whose tensors are statistics of what was captured."""


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def read_manifest(file: Path) -> Manifest:
    """The content of ``trace.json``; MmparityError says what is wrong with it."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise MmparityError(f"{file} is not a plain file.")
    try:
        if file.stat().st_size > MANIFEST_LIMIT:
            raise MmparityError(f"{file} is larger than {MANIFEST_LIMIT} bytes.")
        raw = json.loads(file.read_text())
    except FileNotFoundError:
        raise MmparityError(
            f"{file} is not there: {file.parent} is no trace, or its capture was "
            "interrupted. Capture again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise MmparityError(f"{file} cannot be read: {error}") from error
    version = raw.get("trace_version") if isinstance(raw, dict) else None
    if version != TRACE_VERSION:
        raise MmparityError(
            f"{file} has trace_version {version!r}; this tool reads {TRACE_VERSION}. "
            "Capture again with this version."
        )
    try:
        return _ADAPTER.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MmparityError(f"{file}: {place}: {first['msg']}") from error


LEFT_OUT = "left out: only some hook points were asked for"


def is_whole(reasons: Iterable[str]) -> bool:
    """Whether a trace left nothing out, by the reasons of what it does not hold."""
    return LEFT_OUT not in reasons
