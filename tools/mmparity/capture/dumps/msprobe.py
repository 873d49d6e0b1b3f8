# SPDX-License-Identifier: Apache-2.0
"""Reads dumps of msprobe (mindstudio-probe): level L0, task tensor.

``dump.json`` lists each call of a module with its tensors, which lie beside it as
``dump_tensor_data/*.pt``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmparity.capture.dumps.dump import (
    Dump,
    DumpedCall,
    Stored,
    Values,
    load_pickled,
    not_a_tensor,
    only_one,
    read_index,
)
from mmparity.errors import MmparityError

INDEX = "dump.json"
TENSORS = "dump_tensor_data"
_CALL = re.compile(
    r"Module\.(?:(?P<path>.+)\.)?(?P<kind>[^.]+)\.forward\.(?P<number>\d{1,9})",
    re.ASCII,
)
_DATA = re.compile(r"[\w.\-\[\]]{1,250}\.pt", re.ASCII)


class MsprobeDump(Dump):
    """One dump of one rank and step."""

    tool = "msprobe"
    again = "Dump again: level L0, task tensor, data_mode all."

    def __init__(self, folder: Path) -> None:
        where = f"the folder of a step and a rank, where {INDEX} is"
        self.folder = only_one(self.find(folder), folder, type(self), where)
        self.file = self.folder / INDEX
        raw = read_index(self.file, self.tool)
        task, framework = (repr(raw.get(name))[:40] for name in ("task", "framework"))
        if (task, framework) != ("'tensor'", "'pytorch'"):
            raise MmparityError(
                f"{self.file} is of task {task} and framework {framework}; tensors of "
                f"pytorch are needed, and other tasks keep none. {self.again}"
            )
        if not (self.folder / TENSORS).is_dir():
            raise MmparityError(
                f"{self.folder} has no {TENSORS}: copy that folder too. {self.again}"
            )
        self.calls = tuple(_calls(raw.get("data")))

    @classmethod
    def find(cls, folder: Path) -> list[Path]:
        """The folders that have an index."""
        return sorted(file.parent for file in folder.rglob(INDEX))

    def stored(self, entry: Any) -> Stored | None:
        """What the index says of a tensor."""
        if not isinstance(entry, dict) or entry.get("type") != "torch.Tensor":
            return None
        return Stored(
            entry.get("data_name"), str(entry.get("dtype")), entry.get("shape")
        )

    def file_of(self, stored: Stored) -> Path:
        """Beside the index."""
        if not isinstance(stored.name, str) or not _DATA.fullmatch(stored.name):
            raise MmparityError(
                f"{self.file}: {str(stored.name)[:80]!r} names no file of a tensor. "
                f"{self.again}"
            )
        return self.folder / TENSORS / stored.name

    def load(self, file: Path) -> torch.Tensor:
        """The file holds the tensor alone."""
        tensor = load_pickled(file)
        if not isinstance(tensor, torch.Tensor):
            raise not_a_tensor(file, f"it holds a {type(tensor).__name__}")
        return tensor.detach()


def _calls(data: Any) -> Iterator[DumpedCall]:
    for key, entry in (data if isinstance(data, dict) else {}).items():
        match = _CALL.fullmatch(key)
        if match is None:  # an operator of level L1 or mix, or a backward pass
            continue
        entry = entry if isinstance(entry, dict) else {}
        yield DumpedCall(
            match["path"] or "",
            match["kind"],
            int(match["number"]),
            _of(entry, "input_args", list),
            _of(entry, "input_kwargs", dict),
            _of(entry, "output", list),
            _of(entry, "parameters", dict),
        )


def _of(entry: Values, name: str, kind: type) -> Any:
    value = entry.get(name)
    return value if isinstance(value, kind) else kind()
