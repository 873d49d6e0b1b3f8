# SPDX-License-Identifier: Apache-2.0
"""Traces on disk: the only tensor I/O of captures. Format: docs/formats.md.

Written as it comes, through a few buffers: no tensor is held. ``trace.json`` comes
last, so an interrupted trace is never taken for a whole one. Reading trusts nothing
in the folder.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TypedDict

import torch

from mmparity.errors import MmparityError
from mmparity.files import partial_of, write_text, writing
from mmparity.trace.appender import Appender, pieces
from mmparity.trace.format import (
    FILE_NAME,
    HEADER_BYTES,
    KEEP_FLOAT64_NUMEL,
    STORED_AS,
    _begun,
    _bytes,
    _dtype_name,
)
from mmparity.trace.manifest import MANIFEST, UnmatchedPath
from mmparity.types.trace import (
    TRACE_VERSION,
    Statistics,
    TensorRecord,
    TraceMeta,
)


class _Entry(TypedDict):
    """Of one tensor, in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class _File:
    """A safetensors file that is written before its header is known."""

    def __init__(self, path: Path, appender: Appender) -> None:
        self.path = path
        self.size = HEADER_BYTES
        self._appender = appender
        self._entries: dict[str, _Entry] = {}
        self._room = HEADER_BYTES - 8 - len("{}")
        appender.open(path, HEADER_BYTES)

    def entry(self, name: str, tensor: torch.Tensor) -> _Entry | None:
        """Where the tensor goes; None where it needs a file of its own."""
        start = self.size - HEADER_BYTES
        entry = _Entry(
            dtype=STORED_AS[tensor.dtype],
            shape=list(tensor.shape),
            data_offsets=[start, start + tensor.nbytes],
        )
        taken = len(json.dumps({name: entry}))
        if start % tensor.element_size() or taken > self._room:
            return None
        self._room -= taken
        self._entries[name] = entry
        self.size += tensor.nbytes
        return entry

    def close(self) -> None:
        """Writes the header into its place."""
        header = json.dumps(self._entries, separators=(",", ":")).encode()
        size = HEADER_BYTES - 8
        self._appender.finish(size.to_bytes(8, "little") + header.ljust(size))


class TraceWriter:
    """Writes one trace; a context manager, and whole only if its body succeeds.

    ``meta`` may be set again until the end, for what is known only after the
    forward (seconds, depth). ``kept``: nobody reads it at once.
    """

    def __init__(self, directory: Path, meta: TraceMeta, kept: bool = False) -> None:
        self.directory = Path(directory)
        self.meta = meta
        self._records: list[TensorRecord] = []
        self._unmatched: list[UnmatchedPath] = []
        self._names: set[str] = set()
        self._files: dict[str, int] = {}
        self._file: _File | None = None
        self._appender = Appender(direct=kept)
        self._block = ""
        self.statistics: Statistics | None = None

    def __enter__(self) -> TraceWriter:
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            manifest = self.directory / MANIFEST
            for file in self.directory.iterdir():
                ours = file in (manifest, partial_of(manifest))
                if not ours and not FILE_NAME.fullmatch(file.name):
                    raise MmparityError(
                        f"{self.directory} holds {file.name}, which is no part of a "
                        "trace. Give an empty folder."
                    )
            manifest.unlink(missing_ok=True)
            for file in self.directory.iterdir():
                file.unlink()
        return self

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        """Records one tensor; the caller may change it afterwards."""
        if hook_point in self._names:
            raise ValueError(f"hook point {hook_point!r} was captured twice")
        self._names.add(hook_point)
        stored = _storable(hook_point, tensor)
        if error is None and stored.numel() == 0:
            error = "the tensor is empty"
        record = TensorRecord(
            hook_point=hook_point,
            order=len(self._records),
            shape=tuple(stored.shape),
            dtype=_dtype_name(stored),
            file="",
            digest="",
            path=path,
            transforms=tuple(transforms),
            error=error,
        )
        self._records.append(self.store(record, stored))

    def store(self, record: TensorRecord, stored: torch.Tensor) -> TensorRecord:
        """Writes the tensor; its record, with file and digest."""
        digest = _begun(stored)
        with writing(self.directory):
            file = self._file_for(record.hook_point, stored)
            for piece in pieces(_bytes(stored)):
                digest.update(piece)
                self._appender.append(piece)
        return replace(record, file=file.path.name, digest=digest.hexdigest())

    def unmatched(self, path: str, reason: str, explained: bool) -> None:
        """Records a module or hook point that has no partner, with the reason."""
        self._unmatched.append(UnmatchedPath(path, reason, explained))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with closing(self._appender), writing(self.directory):
                if kind is None:
                    self._end_file()
            if kind is None:
                self._write_manifest()
        finally:
            if not (self.directory / MANIFEST).exists():  # half a trace takes room
                shutil.rmtree(self.directory, ignore_errors=True)

    def _write_manifest(self) -> None:
        manifest = {
            "trace_version": TRACE_VERSION,
            "meta": asdict(self.meta),
            "records": [asdict(record) for record in self._records],
            "unmatched": [asdict(item) for item in self._unmatched],
            "files": self._files,
        }
        if self.statistics is not None:
            manifest["statistics"] = asdict(self.statistics)
        write_text(self.directory / MANIFEST, json.dumps(manifest))

    def _file_for(self, hook_point: str, stored: torch.Tensor) -> _File:
        """The file of its block, or a further one."""
        block = ".".join(hook_point.split(".")[:2])
        if block != self._block:
            self._end_file()
        self._block = block
        for _ in range(2):
            if self._file is None:
                name = f"{len(self._files):05}.safetensors"
                self._file = _File(self.directory / name, self._appender)
            if self._file.entry(hook_point, stored):
                return self._file
            self._end_file()
        raise MmparityError(f"the name {hook_point[:80]!r}... is too long for a trace.")

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._files[self._file.path.name] = self._file.size
            self._file = None


def _storable(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as it is stored: itself where it lies so in memory, else a copy."""
    tensor = tensor.detach()
    if tensor.dtype not in STORED_AS:
        allowed = ", ".join(str(dtype) for dtype in STORED_AS)
        raise MmparityError(
            f"{name} is {tensor.dtype}, which a trace cannot hold. Allowed: {allowed}."
        )
    large = tensor.dtype == torch.float64 and tensor.numel() > KEEP_FLOAT64_NUMEL
    if tensor.device.type == "cpu" and tensor.is_contiguous() and not large:
        return tensor
    dtype = torch.float32 if large else tensor.dtype
    # Not `tensor.float()`: an oracle may run with casts to float32 turned off.
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
