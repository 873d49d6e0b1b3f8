# SPDX-License-Identifier: Apache-2.0
"""Reads dumps of SGLang's dumper, hooked to every module of a model.

There is no index: each value is a file, whose name says the order, the module and the
argument (``step=0___rank=0___dump_index=7___name=non_intrusive__blocks.0.norm1.output``
and so on), and which holds the value and the same again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmparity.capture.dumps.dump import (
    Dump,
    DumpedCall,
    Stored,
    load_pickled,
    not_a_tensor,
    only_one,
)
from mmparity.errors import MmparityError

Tensors = dict[str, Stored]
Value = Stored | list[Stored]
_FILE = re.compile(
    r"step=\d+___rank=(?P<rank>\d+)___dump_index=(?P<index>\d{1,9})___"
    r"name=(?P<name>.+?)___recompute_status=\w+(?:___.+)?\.pt",
    re.ASCII,
)
_VALUE = re.compile(
    r"non_intrusive__(?:(?P<module>.+)\.)?(?P<side>inputs|output)(?:\.(?P<place>.+))?",
    re.ASCII,
)
_PARAMETER = re.compile(r"param__(?:(?P<module>.+)\.)?(?P<name>[^.]+)", re.ASCII)


@dataclass(frozen=True)
class _File:
    """A value of a dump, by the name of its file."""

    path: Path
    rank: int
    index: int
    name: str


@dataclass
class _Call:
    """A call whose values are being collected: place -> value."""

    inputs: Tensors = field(default_factory=dict)
    output: Tensors = field(default_factory=dict)

    def takes(self, side: str, place: str) -> bool:
        """Whether a value is of this call still, and not of the module's next one."""
        if side == "inputs":
            return not self.output and place not in self.inputs
        return place not in self.output


class SglangDump(Dump):
    """One dump of one rank: all files of one folder."""

    tool = "SGLang's dumper"
    again = (
        "Dump again, one rank to a folder: DUMPER_ENABLE=1, "
        "DUMPER_NON_INTRUSIVE_MODE=all."
    )

    def __init__(self, folder: Path) -> None:
        where = "the folder of a dump, where the files step=... are"
        self.file = only_one(self.find(folder), folder, type(self), where)
        files = sorted(_files(self.file), key=lambda file: file.index)
        ranks = sorted({file.rank for file in files})
        if len(ranks) > 1:
            raise MmparityError(
                f"{self.file} has files of the ranks {ranks[0]} to {ranks[-1]}; a "
                f"trace is of one. Move those of the others away. {self.again}"
            )
        self.calls = tuple(self._calls(files))

    @classmethod
    def find(cls, folder: Path) -> list[Path]:
        """The folders that have files of the dumper."""
        found = Path(folder).rglob("step=*___rank=*___dump_index=*.pt")
        return sorted({file.parent for file in found})

    def file_of(self, stored: Stored) -> Path:
        """Names are those of files that were found."""
        return self.file / stored.name

    def load(self, file: Path) -> torch.Tensor:
        """The file holds the value and what its name says."""
        value = _value(file)
        if not isinstance(value, torch.Tensor):
            raise not_a_tensor(file, f"it holds a {type(value).__name__}")
        return value.detach()

    def _calls(self, files: list[_File]) -> Iterator[DumpedCall]:
        parameters: dict[str, Tensors] = {}
        calls: list[tuple[str, _Call]] = []
        latest: dict[str, _Call] = {}
        for file in files:
            stored = _stored(file)
            value, owner = _VALUE.fullmatch(file.name), _PARAMETER.fullmatch(file.name)
            if stored is None or not (value or owner):
                continue  # a field of the batch, or what a user dumped by name
            if value is None:
                assert owner is not None
                parameters.setdefault(owner["module"] or "", {})[owner["name"]] = stored
                continue
            module, side, place = (value[k] or "" for k in ("module", "side", "place"))
            call = latest.get(module)
            if call is None or not call.takes(side, place):
                call = latest[module] = _Call()
                calls.append((module, call))
            (call.inputs if side == "inputs" else call.output)[place] = stored
        yield from _numbered(calls, parameters)


def _files(folder: Path) -> Iterator[_File]:
    for path in folder.iterdir():
        match = _FILE.fullmatch(path.name)
        if match is not None:
            yield _File(path, int(match["rank"]), int(match["index"]), match["name"])


def _stored(file: _File) -> Stored | None:
    value = _value(file.path, file.name)
    if not isinstance(value, torch.Tensor):
        return None
    return Stored(file.path.name, str(value.dtype), list(value.shape))


def _value(file: Path, name: str | None = None) -> Any:
    """The value in a file, which must be of the name that the file has."""
    held = load_pickled(file)
    if not isinstance(held, dict) or not {"value", "meta"} <= held.keys():
        raise not_a_tensor(file, "it is no file of SGLang's dumper")
    meta = held["meta"]
    said = meta.get("name") if isinstance(meta, dict) else None
    if name is not None and said != name:
        raise not_a_tensor(file, f"it says that it is {str(said)[:80]!r}")
    return held["value"]


def _numbered(
    calls: list[tuple[str, _Call]], parameters: dict[str, Tensors]
) -> Iterator[DumpedCall]:
    counts: Counter[str] = Counter()
    for module, call in calls:
        arguments, output = _nested(call.inputs), _nested(call.output)
        yield DumpedCall(
            module,
            "",
            counts[module],
            _in_order(arguments),
            {key: value for key, value in arguments.items() if not key.isdigit()},
            [output[""]] if "" in output else _in_order(output),
            parameters.get(module, {}),
        )
        counts[module] += 1


def _nested(places: Tensors) -> dict[str, Value]:
    """With the parts of a tuple, ``cos.0`` and ``cos.1``, as a list."""
    found: dict[str, Value] = {}
    for place, value in places.items():
        name, _, part = place.partition(".")
        group = found.setdefault(name, []) if part.isdigit() else None
        if isinstance(group, list):
            group.append(value)
        elif not part:
            found[name] = value
    return found


def _in_order(values: dict[str, Value]) -> list[Value | None]:
    """Those with a number; the dumper leaves out what is no tensor."""
    numbers = [int(key) for key in values if key.isdigit() and len(key) < 3]
    return [values.get(str(number)) for number in range(max(numbers, default=-1) + 1)]
