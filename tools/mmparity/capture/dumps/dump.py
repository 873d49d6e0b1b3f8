# SPDX-License-Identifier: Apache-2.0
"""What a dump of another tool is to the harness; a reader is one file beside this.

A dump trusts nothing that is in it: tensors are read as tensors and nothing else, and
a file that holds any other object is refused before it is built.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmparity.errors import MmparityError
from mmparity.stored_json import first_line, read_json
from mmparity.trace.format import STORED_AS

INDEX_LIMIT = 256 << 20
TENSOR_LIMIT = 8 << 30
Values = dict[str, Any]
"""What another tool wrote, by name, before it is looked at."""


@dataclass(frozen=True)
class Stored:
    """A tensor of a dump, and what the dump says of it.

    Attributes:
        name: of its file.
        dtype: as torch writes it.
        shape: a list of numbers, if the dump is sound.
    """

    name: Any
    dtype: str
    shape: Any


@dataclass(frozen=True)
class DumpedCall:
    """One call of a module. Values are what ``Dump.stored`` and ``tensor`` take.

    Attributes:
        path: of the module, from the model that the tool was given.
        kind: class of the module; empty where the dump does not say.
        number: how often the module had been called before.
        inputs: positional arguments.
        named: keyword arguments.
        outputs: what it returned; one entry where that was no tuple.
        parameters: by name.
    """

    path: str
    kind: str
    number: int
    inputs: list[Any] = field(default_factory=list)
    named: Values = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    parameters: Values = field(default_factory=dict)


class Dump(ABC):
    """One dump of one rank.

    Attributes:
        tool: that made it.
        again: how to make one that can be read.
        file: what errors name: the index, or the folder where there is none.
        calls: in the order in which they returned or were entered.
    """

    tool: str
    again: str
    file: Path
    calls: tuple[DumpedCall, ...]

    @abstractmethod
    def __init__(self, folder: Path) -> None:
        """Reads which calls the only dump in a folder has."""

    @classmethod
    @abstractmethod
    def find(cls, folder: Path) -> list[Path]:
        """The dumps of the tool that are in a folder or below it."""

    @abstractmethod
    def file_of(self, stored: Stored) -> Path:
        """Where a tensor is; raises MmparityError for a name that leads elsewhere."""

    @abstractmethod
    def load(self, file: Path) -> torch.Tensor:
        """A tensor from its file."""

    def stored(self, entry: Any) -> Stored | None:
        """The tensor that an entry of a call is; None for one that is no tensor."""
        return entry if isinstance(entry, Stored) else None

    def tensor(self, entry: Any) -> torch.Tensor | None:
        """The tensor of an entry; None for an entry that is no tensor."""
        stored = self.stored(entry)
        if stored is None:
            return None
        file = self.file_of(stored)
        tensor = self.load(file)
        if (str(tensor.dtype), list(tensor.shape)) != (stored.dtype, stored.shape):
            raise MmparityError(
                f"{file} is {tensor.dtype} {list(tensor.shape)}, but {self.file.name} "
                f"says {stored.dtype[:40]} {str(stored.shape)[:80]}."
            )
        if tensor.dtype not in STORED_AS or tensor.layout != torch.strided:
            allowed = ", ".join(map(str, STORED_AS))
            raise MmparityError(
                f"{file} is {tensor.dtype} in the layout {tensor.layout}; a trace "
                f"cannot hold it. Allowed: {allowed}."
            )
        return tensor


def only_one(found: Sequence[Path], folder: Path, dump: type[Dump], name: str) -> Path:
    """The only dump of a folder; ``name`` says what a user is to name instead."""
    if len(found) != 1:
        names = ", ".join(str(item.relative_to(folder)) for item in found[:8])
        raise MmparityError(
            f"{folder} has {len(found)} dumps of {dump.tool} ({names}). Name one: "
            f"{name}."
        )
    return found[0]


def read_index(file: Path, tool: str) -> Values:
    """The object in a JSON file."""
    check_file(file, INDEX_LIMIT)
    raw = read_json(file)
    if not isinstance(raw, dict):
        raise MmparityError(f"{file} is not an index of {tool}.")
    return raw


def load_pickled(file: Path) -> Any:
    """What ``torch.save`` wrote, mapped: tensors, in containers of plain values."""
    check_file(file, TENSOR_LIMIT)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch checks no word of a pickle that is none
        raise not_a_tensor(file, first_line(error)) from error


def not_a_tensor(file: Path, reason: object) -> MmparityError:
    """What is said of a file that holds something else, or half of it."""
    first = str(reason).strip().split("\n", 1)[0][:200]
    return MmparityError(f"{file} is not a tensor that can be read safely: {first}")


def check_file(file: Path, limit: int) -> None:
    """Raises MmparityError unless it is a plain file below a limit in bytes."""
    if file.is_symlink() or not file.is_file():
        raise MmparityError(f"{file} is missing or not a plain file.")
    if file.stat().st_size > limit:
        raise MmparityError(f"{file} is larger than {limit} bytes.")
