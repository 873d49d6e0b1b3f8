# SPDX-License-Identifier: Apache-2.0
"""Reads a trace; trusts nothing in its folder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from mmparity.errors import MmparityError
from mmparity.trace.format import (
    FILE_NAME,
    STORED_AS,
    TENSOR_FILE_LIMIT,
    _dtype_name,
    tensor_digest,
)
from mmparity.trace.manifest import MANIFEST, read_manifest
from mmparity.types.trace import (
    Statistics,
    TensorRecord,
    unprintable,
)


class TraceReader:
    """Reads one trace: the manifest at once, tensors and digests when asked for.

    Several threads may read from it.
    """

    def __init__(self, directory: Path, *, statistics: bool = False) -> None:
        self.directory = Path(directory)
        manifest = read_manifest(self.directory / MANIFEST)
        _check_kind(manifest.statistics, statistics, self.directory)
        self.meta = manifest.meta
        self.records = manifest.records
        self.unmatched = manifest.unmatched
        self.statistics = manifest.statistics
        self._by_name = {record.hook_point: record for record in manifest.records}
        self._files = manifest.files
        self._check_manifest()

    def __contains__(self, hook_point: str) -> bool:
        return hook_point in self._by_name

    def record(self, hook_point: str) -> TensorRecord:
        """The record of a hook point that is in this trace."""
        return self._by_name[hook_point]

    def read(self, hook_point: str) -> torch.Tensor:
        """The tensor, checked against its record and digest."""
        record = self._by_name[hook_point]
        where = f"{self.directory / record.file}: {hook_point!r}"
        try:
            self._check_size(record.file)
            # Opened for each tensor: what is mapped of a file counts as memory.
            file = safe_open(self.directory / record.file, framework="pt")
            tensor = file.get_tensor(hook_point)
        except (OSError, EOFError, KeyError, ValueError, SafetensorError) as error:
            raise MmparityError(f"{where} cannot be read: {error}") from error
        if (_dtype_name(tensor), tuple(tensor.shape)) != (record.dtype, record.shape):
            raise MmparityError(
                f"{where} is {_dtype_name(tensor)} {tuple(tensor.shape)}, but "
                f"{MANIFEST} says {record.dtype} {record.shape}."
            )
        if tensor_digest(tensor) != record.digest:
            raise MmparityError(f"{where} does not have the digest of {MANIFEST}.")
        return tensor

    def _check_manifest(self) -> None:
        for name in self._files:
            if not FILE_NAME.fullmatch(name):
                raise MmparityError(
                    f"{self.directory / MANIFEST} names the file {name!r}; a trace has "
                    "only files like 00000.safetensors beside it."
                )
            self._check_size(name)
        if len(self._by_name) != len(self.records):
            raise MmparityError(f"{self.directory}: a hook point is there twice.")
        said = [text for item in self.unmatched for text in (item.path, item.reason)]
        bad = unprintable(self.meta, self.records, said)
        if bad is not None:
            raise MmparityError(f"{self.directory / MANIFEST}: {bad!r} is no name.")
        allowed = [str(dtype).removeprefix("torch.") for dtype in STORED_AS]
        for record in self.records:
            if record.dtype not in allowed:
                raise MmparityError(
                    f"{self.directory / MANIFEST}: {record.hook_point!r} is "
                    f"{record.dtype[:40]!r}, which a trace cannot hold. Allowed: "
                    f"{', '.join(allowed)}."
                )
            if record.file not in self._files:
                raise MmparityError(
                    f"{self.directory / MANIFEST}: {record.hook_point!r} is in "
                    f"{record.file!r}, which is not in the list of files."
                )

    def _check_size(self, name: str) -> None:
        file = self.directory / name
        if file.is_symlink() or not file.is_file():
            raise MmparityError(f"{file} is missing or not a plain file.")
        if file.stat().st_size > TENSOR_FILE_LIMIT:
            raise MmparityError(f"{file} is larger than {TENSOR_FILE_LIMIT} bytes.")
        if file.stat().st_size != self._files[name]:
            raise MmparityError(
                f"{file} has {file.stat().st_size} bytes; {MANIFEST} says "
                f"{self._files[name]}. It was cut short or changed: capture again."
            )


def _check_kind(found: Statistics | None, wanted: bool, directory: Path) -> None:
    if (found is not None) == wanted:
        return
    holds, take = ("tensors", "tensors") if wanted else ("statistics", "statistics")
    raise MmparityError(
        f"{directory} is a trace of {holds}. `mmparity compare` takes it with another "
        f"trace of {take}; for anything else capture "
        + ("with" if wanted else "without")
        + " --statistics."
    )
