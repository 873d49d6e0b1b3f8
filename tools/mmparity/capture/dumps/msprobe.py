# SPDX-License-Identifier: Apache-2.0
"""Reads dumps of msprobe (mindstudio-probe): level L0, task tensor. Trusts nothing.

``dump.json`` lists each call of a module with its tensors, which lie beside it as
``dump_tensor_data/*.pt``. Those are read as tensors and nothing else: a file that
holds any other object is refused before it is built.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmparity.errors import MmparityError
from mmparity.stored_json import read_json
from mmparity.trace.format import STORED_AS

INDEX = "dump.json"
TENSORS = "dump_tensor_data"
INDEX_LIMIT = 256 << 20
TENSOR_LIMIT = 8 << 30
_CALL = re.compile(
    r"Module\.(?:(?P<path>.+)\.)?(?P<kind>[^.]+)\.forward\.(?P<number>\d{1,9})",
    re.ASCII,
)
_DATA = re.compile(r"[\w.\-\[\]]{1,250}\.pt", re.ASCII)
_AGAIN = "Dump again: level L0, task tensor, data_mode all."


@dataclass(frozen=True)
class DumpedCall:
    """One call of a module, as ``dump.json`` lists it.

    Attributes:
        path: of the module, from the model that was given to msprobe.
        kind: class of the module.
        number: how often the module had been called before.
        inputs: positional arguments.
        named: keyword arguments.
        outputs: what it returned; one entry where that was no tuple.
        parameters: by name.
    """

    path: str
    kind: str
    number: int
    inputs: list[Any]
    named: dict[str, Any]
    outputs: list[Any]
    parameters: dict[str, Any]


class Dump:
    """One dump of one rank and step."""

    def __init__(self, folder: Path) -> None:
        self.folder = find_dump(folder)
        self.file = self.folder / INDEX
        raw = _read_index(self.file)
        task, framework = (repr(raw.get(name))[:40] for name in ("task", "framework"))
        if (task, framework) != ("'tensor'", "'pytorch'"):
            raise MmparityError(
                f"{self.file} is of task {task} and framework {framework}; tensors of "
                f"pytorch are needed, and other tasks keep none. {_AGAIN}"
            )
        if not (self.folder / TENSORS).is_dir():
            raise MmparityError(
                f"{self.folder} has no {TENSORS}: copy that folder too. {_AGAIN}"
            )
        self.calls = tuple(self._calls(raw.get("data")))
        if not self.calls:
            raise MmparityError(f"{self.file} has no call of a module. {_AGAIN}")

    def tensor(self, entry: Any) -> torch.Tensor | None:
        """The tensor of an entry; None for an entry that is no tensor."""
        if not isinstance(entry, dict) or entry.get("type") != "torch.Tensor":
            return None
        name = entry.get("data_name")
        if not isinstance(name, str) or not _DATA.fullmatch(name):
            raise MmparityError(
                f"{self.file}: {str(name)[:80]!r} names no file of a tensor. {_AGAIN}"
            )
        tensor = _load(self.folder / TENSORS / name)
        said = str(entry.get("dtype")), entry.get("shape")
        if (str(tensor.dtype), list(tensor.shape)) != said:
            raise MmparityError(
                f"{self.folder / TENSORS / name} is {tensor.dtype} "
                f"{list(tensor.shape)}, but {INDEX} says {said[0][:40]} "
                f"{str(said[1])[:80]}."
            )
        if tensor.dtype not in STORED_AS or tensor.layout != torch.strided:
            allowed = ", ".join(map(str, STORED_AS))
            raise MmparityError(
                f"{self.folder / TENSORS / name} is {tensor.dtype} in the layout "
                f"{tensor.layout}; a trace cannot hold it. Allowed: {allowed}."
            )
        return tensor

    def _calls(self, data: Any) -> Iterator[DumpedCall]:
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


def is_dump(folder: Path) -> bool:
    """Whether there is a dump of msprobe in a folder."""
    return next(iter(_indexes(folder)), None) is not None


def find_dump(folder: Path) -> Path:
    """The folder of the only dump under ``folder``."""
    found = [file.parent for file in _indexes(folder)]
    if len(found) != 1:
        names = ", ".join(str(item.relative_to(folder)) for item in found[:8])
        raise MmparityError(
            f"{folder} has {len(found)} dumps of msprobe ({names}). Name one: the "
            f"folder of a step and a rank, where {INDEX} is."
        )
    return found[0]


def _indexes(folder: Path) -> list[Path]:
    return sorted(Path(folder).rglob(INDEX))


def _of(entry: dict[str, Any], name: str, kind: type) -> Any:
    value = entry.get(name)
    return value if isinstance(value, kind) else kind()


def _read_index(file: Path) -> dict[str, Any]:
    _check_file(file, INDEX_LIMIT)
    raw = read_json(file)
    if not isinstance(raw, dict):
        raise MmparityError(f"{file} is not an index of msprobe.")
    return raw


def _load(file: Path) -> torch.Tensor:
    """A tensor from a ``.pt`` file, mapped; any other object is refused."""
    _check_file(file, TENSOR_LIMIT)
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise _not_a_tensor(file, error) from error
    except pickle.UnpicklingError as error:
        raise _not_a_tensor(file, error) from error
    if not isinstance(tensor, torch.Tensor):
        raise _not_a_tensor(file, f"it holds a {type(tensor).__name__}")
    return tensor.detach()


def _not_a_tensor(file: Path, reason: object) -> MmparityError:
    first = str(reason).strip().split("\n", 1)[0][:200]
    return MmparityError(f"{file} is not a tensor that can be read safely: {first}")


def _check_file(file: Path, limit: int) -> None:
    if file.is_symlink() or not file.is_file():
        raise MmparityError(f"{file} is missing or not a plain file.")
    if file.stat().st_size > limit:
        raise MmparityError(f"{file} is larger than {limit} bytes.")
