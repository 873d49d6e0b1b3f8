# SPDX-License-Identifier: Apache-2.0
"""What the harness asks of vLLM's workers: vLLM mixes this class into its own.

``worker_extension_cls`` and ``collective_rpc`` are vLLM's, so it works the same in
one process and over tensor-parallel ranks. Values are read, never changed.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Any

import torch

_METHODS = ("embed_multimodal", "get_multimodal_embeddings")
"""What makes embeddings of pixels, in 0.12.0 and in 0.11.0."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def ask(llm: Any, method: str, *arguments: Any) -> list[Any]:
    """The answers of all workers of an engine in this process.

    Not by ``LLM.collective_rpc``, which makes a patched engine forget what encoders
    made: looking at a cache may not empty it.
    """
    executor = llm.llm_engine.model_executor
    answers: list[Any] = executor.collective_rpc(method, args=arguments)
    return answers


class EngineProbe:
    """Methods of a worker, called by ``ask``."""

    model_runner: Any

    def probe_record(self) -> None:
        """From now on keeps a copy of each embedding."""
        model = self.model_runner.get_model()
        self.probe_embeddings: list[torch.Tensor] = []
        name = next(name for name in _METHODS if hasattr(model, name))
        embed = getattr(type(model), name)

        def recorded(**inputs: Any) -> Any:
            embeddings = embed(model, **inputs)
            self.probe_embeddings += [item.detach().clone() for item in embeddings]
            return embeddings

        setattr(model, name, recorded)

    def probe_runs(self) -> str:
        """What runs, and which emulated operators were called until now."""
        from mmparity.encoders import npu_emulation

        names = what_runs(self.model_runner.get_model())
        called = ", ".join(npu_emulation.called_names())
        return f"{names}; {called}" if called else names

    def probe_take(self) -> list[torch.Tensor]:
        """The embeddings since the last call."""
        taken, self.probe_embeddings = self.probe_embeddings, []
        return taken

    def probe_memory(self, tensors: bool = True) -> dict[str, int]:
        """Bytes that encoder outputs hold, tensors since the start, and the process."""
        gc.collect()
        _give_back()
        if not tensors:
            return {"resident_bytes": resident_bytes()}
        cached = list(getattr(self.model_runner, "encoder_cache", {}).values())
        return {
            "entries": len(cached),
            "entry_bytes": sum(item.numel() * item.element_size() for item in cached),
            "held_bytes": storage_bytes(cached),
            "tensor_bytes": storage_bytes(
                [item for item in gc.get_objects() if _is_tensor(item)]
            ),
            "resident_bytes": resident_bytes(),
        }


def what_runs(model: Any) -> str:
    """Platform, model, tower and attention operator: what a side claims to be."""
    from vllm.platforms import current_platform

    attention = getattr(model.visual.blocks[0].attn, "attn", None)
    parts = [current_platform, model, model.visual, attention]
    return " > ".join(type(part).__name__ for part in parts if part is not None)


def storage_bytes(tensors: list[torch.Tensor]) -> int:
    """Bytes that these keep alive, shared storage counted once."""
    storages = {
        storage.data_ptr(): storage.nbytes()
        for storage in (tensor.untyped_storage() for tensor in tensors)
    }
    return sum(storages.values())


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _give_back() -> None:
    """Has glibc return what it keeps of freed memory, where there is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _is_tensor(item: object) -> bool:
    return (
        issubclass(type(item), torch.Tensor)
        and item.layout == torch.strided  # type: ignore[attr-defined]
        and item.device.type == "cpu"  # type: ignore[attr-defined]
    )
