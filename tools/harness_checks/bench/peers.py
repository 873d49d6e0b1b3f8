# SPDX-License-Identifier: Apache-2.0
"""What the bench of captures measures beside the harness: other ways to record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from harness_checks.mutants.peers import msprobe, sglang
from mmparity.encoders import Encoder


@contextmanager
def _hooks(
    model: nn.Module, take: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    def hook(name: str) -> Callable[..., None]:
        def call(module: nn.Module, args: Any, output: Any) -> None:
            take(name, output[0] if isinstance(output, tuple) else output)

        return call

    handles = [m.register_forward_hook(hook(n)) for n, m in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _hooks_stream(encoder: Encoder, folder: Path) -> Iterator[None]:
    """Plain forward hooks, one safetensors file for each module's output."""

    def take(name: str, output: torch.Tensor) -> None:
        file = folder / f"{name or 'tower'}.safetensors"
        save_file({"output": output.contiguous()}, file)

    folder.mkdir(exist_ok=True)
    with _hooks(encoder.model, take):
        yield


@contextmanager
def _hooks_statistics(
    dtype: torch.dtype, encoder: Encoder, folder: Path
) -> Iterator[None]:
    """Plain forward hooks: minimum, maximum, mean and norm of a whole output."""
    found: dict[str, list[float]] = {}

    def take(name: str, output: torch.Tensor) -> None:
        wide = output.to(dtype)
        low, high = wide.aminmax()
        values = (low, high, wide.mean(), wide.norm())
        found[name] = [value.item() for value in values]

    with _hooks(encoder.model, take):
        yield
    folder.mkdir(exist_ok=True)
    (folder / "statistics.json").write_text(json.dumps(found))


@contextmanager
def _transformers(encoder: Encoder, folder: Path) -> Iterator[None]:
    """transformers' model_addition_debugger_context, tensors to disk."""
    from transformers.model_debugging_utils import model_addition_debugger_context

    with model_addition_debugger_context(
        encoder.model, debug_path=str(folder), do_prune_layers=False, use_repr=False
    ):
        yield


PEERS: dict[str, tuple[str, Callable[[Encoder, Path], Any]]] = {
    "hooks-statistics": (
        "plain hooks: statistics of a tensor, float32",
        partial(_hooks_statistics, torch.float32),
    ),
    "hooks-statistics-64": (
        "plain hooks: statistics of a tensor, float64",
        partial(_hooks_statistics, torch.float64),
    ),
    "msprobe-statistics": (
        "msprobe L0: statistics of a tensor",
        partial(msprobe.dump, "statistics"),
    ),
    "hooks-stream": ("plain hooks: a file for each output", _hooks_stream),
    "transformers": ("transformers' debugger: tensors to disk", _transformers),
    "sglang": ("SGLang's dumper: tensors to disk", sglang.dump),
    "msprobe-tensor": ("msprobe L0: tensors to disk", partial(msprobe.dump, "tensor")),
}
