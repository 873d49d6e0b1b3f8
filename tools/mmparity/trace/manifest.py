# SPDX-License-Identifier: Apache-2.0
"""``trace.json``: what it says, and how it is read without trust."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic.dataclasses import dataclass

from mmparity.errors import MmparityError
from mmparity.stored_json import read_versioned, validated
from mmparity.types.trace import TRACE_VERSION, Statistics, TensorRecord, TraceMeta

MANIFEST = "trace.json"
MANIFEST_LIMIT = 64 << 20


@dataclass(frozen=True)
class UnmatchedPath:
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
    unmatched: tuple[UnmatchedPath, ...]
    files: dict[str, int]
    """Name -> size in bytes."""
    statistics: Statistics | None = None
    """Of a trace whose tensors are statistics of what was captured."""


def read_manifest(file: Path) -> Manifest:
    """The content of ``trace.json``; MmparityError says what is wrong with it."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise MmparityError(f"{file} is not a plain file.")
    if not file.exists():
        raise MmparityError(
            f"{file} is not there: {file.parent} is no trace, or its capture was "
            "interrupted. Capture again."
        )
    advice = "Capture again with this version."
    raw = read_versioned(file, "trace_version", TRACE_VERSION, advice, MANIFEST_LIMIT)
    return validated(Manifest, raw, file)


LEFT_OUT = "left out: only some hook points were asked for"


def is_whole(reasons: Iterable[str]) -> bool:
    """Whether a trace left nothing out, by the reasons of what it does not hold."""
    return LEFT_OUT not in reasons
