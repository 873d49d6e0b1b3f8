# SPDX-License-Identifier: Apache-2.0
"""How a tensor is stored in a trace, and its digest."""

from __future__ import annotations

import re
from typing import Any

import torch
from blake3 import blake3

HEADER_BYTES = 16 << 10
"""Kept free at the start of each file for what is known only at its end."""


STORED_AS = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""torch's dtype -> its name in a safetensors file."""


DTYPES = {name: dtype for dtype, name in STORED_AS.items()}


TENSOR_FILE_LIMIT = 8 << 30
"""Far above one block of the largest image; a sparse file can claim any size."""


KEEP_FLOAT64_NUMEL = 1 << 16
"""Larger float64 tensors are stored as float32: the oracle's last digits do not
matter, its size does."""


FILE_NAME = re.compile(r"\d{5}\.safetensors", re.ASCII)


def tensor_digest(tensor: torch.Tensor) -> str:
    """blake3 over dtype, shape and bytes."""
    digest = _begun(tensor)
    digest.update(_bytes(tensor))
    found: str = digest.hexdigest()
    return found


def _begun(tensor: torch.Tensor) -> Any:
    """A digest of what is said before a tensor's bytes."""
    digest: Any = blake3()
    digest.update(f"{_dtype_name(tensor)} {tuple(tensor.shape)}\n".encode())
    return digest


def _bytes(tensor: torch.Tensor) -> memoryview:
    """A contiguous tensor's memory."""
    if not tensor.numel():
        return memoryview(b"")
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
