# SPDX-License-Identifier: Apache-2.0
"""Reads what transformers' ``model_addition_debugger_context`` wrote of a forward.

``<class>_debug_tree_FULL_TENSORS.json`` is the tree of calls, and each tensor is a
safetensors file beside it. The tool writes what modules without parts return, and what
all are given. It writes the files of a module's next call over those of the one before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mmparity.capture.dumps.dump import (
    TENSOR_LIMIT,
    Dump,
    DumpedCall,
    Stored,
    Values,
    check_file,
    not_a_tensor,
    only_one,
    read_index,
)
from mmparity.errors import MmparityError

INDEX = "_debug_tree_FULL_TENSORS.json"
_DATA = re.compile(r"(?:\./)?(?P<name>[\w.\-\[\]]{1,250}\.safetensors)", re.ASCII)
_SHAPE = re.compile(r"torch\.Size\(\[(?P<sizes>[\d, ]{0,200})\]\)", re.ASCII)
_MOST_CALLS, _DEEPEST = 200_000, 8


class DebuggerDump(Dump):
    """The last forward of one model that ran in the context."""

    tool = "transformers' model-addition debugger"
    again = "Dump again with use_repr=False and do_prune_layers=False."

    def __init__(self, folder: Path) -> None:
        where = f"the folder of a model, where one *{INDEX} is"
        self.file = only_one(self.find(folder), folder, type(self), where)
        raw = read_index(self.file, self.tool)
        if not isinstance(raw.get("children"), list):
            raise MmparityError(f"{self.file} has no calls. {self.again}")
        self.calls = tuple(self._calls(raw))

    @classmethod
    def find(cls, folder: Path) -> list[Path]:
        """The indexes."""
        return sorted(Path(folder).rglob(f"*{INDEX}"))

    def file_of(self, stored: Stored) -> Path:
        """Beside the index."""
        found = _DATA.fullmatch(stored.name) if isinstance(stored.name, str) else None
        if found is None:
            printed = isinstance(stored.name, list)
            raise MmparityError(
                f"{self.file}: {'printed values' if printed else 'a name'} in place of "
                f"a file of a tensor: {str(stored.name)[:80]!r}. {self.again}"
            )
        return self.file.parent / found["name"]

    def load(self, file: Path) -> torch.Tensor:
        """The file holds the tensor alone."""
        check_file(file, TENSOR_LIMIT)
        try:
            with safe_open(file, framework="pt") as held:
                return held.get_tensor("data")
        except (OSError, SafetensorError) as error:
            raise not_a_tensor(file, error) from error

    def _calls(self, tree: Values) -> Iterator[DumpedCall]:
        root = str(tree.get("module_path"))
        nodes = list(_in_order(tree, self.file))
        counts = Counter(str(node.get("module_path")) for node in nodes)
        numbers: Counter[str] = Counter()
        for node in nodes:
            path = str(node.get("module_path"))
            number = numbers[path]
            numbers[path] += 1
            kept = number == counts[path] - 1  # the files of earlier calls are gone
            given = node.get("inputs") if kept else None
            given = given if isinstance(given, dict) else {}
            inputs, named = _values(given.get("args")), _values(given.get("kwargs"))
            outputs = _values(node.get("outputs")) if kept else None
            yield DumpedCall(
                "" if path == root else path.removeprefix(f"{root}."),
                "",
                number,
                inputs if isinstance(inputs, list) else [],
                named if isinstance(named, dict) else {},
                outputs if isinstance(outputs, list) else [outputs],
            )


def _in_order(tree: Values, file: Path) -> Iterator[Values]:
    """The calls of a tree, each before those that it makes."""
    waiting: list[Any] = [tree]
    for _ in range(_MOST_CALLS):
        if not waiting:
            return
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield node
        children = node.get("children")
        waiting.extend(reversed(children if isinstance(children, list) else []))
    raise MmparityError(f"{file} has more than {_MOST_CALLS} calls.")


def _values(value: Any, depth: int = 0) -> Any:
    """With each tensor as ``Stored``; what is neither that nor a container is None."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, list):
        return [_values(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return None
    if {"shape", "dtype", "value"} <= value.keys():
        found = _SHAPE.fullmatch(str(value["shape"]))
        sizes = re.findall(r"\d{1,18}", found["sizes"]) if found else ()
        shape = [int(size) for size in sizes] if found else value["shape"]
        return Stored(value["value"], str(value["dtype"]), shape)
    return {str(key): _values(item, depth + 1) for key, item in value.items()}
