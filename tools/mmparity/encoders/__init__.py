# SPDX-License-Identifier: Apache-2.0
"""The encoders, built from their source trees and ready to be captured.

One worker process builds encoders of one implementation only: each needs its
own ``sys.path``. Importing this package needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmparity import hook_points
from mmparity.types import MmparityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch
    from torch import nn
    from transformers import PretrainedConfig

    from mmparity.encoders.rules import HookMap
    from mmparity.implementations import Implementation

HOOK_POINTS = {
    point.name: f"{point.layout}: {point.about}" for point in hook_points.HOOK_POINTS
}
"""Canonical name -> layout and meaning, in order of execution."""


@dataclass(frozen=True)
class Encoder:
    """An encoder with its weights loaded.

    Attributes:
        model: the vision tower.
        hook_map: where its hook points are.
        forward: runs it on pixel values and grid_thw, both on the host, the way
            its framework does in production.
        hyper_parameters: what cannot be seen in tensors.
    """

    model: nn.Module
    hook_map: HookMap
    forward: Callable[[torch.Tensor, torch.Tensor], None]
    hyper_parameters: dict[str, Any]


class Runtime(Protocol):
    """A framework, imported from its trees once for the process."""

    emulated: tuple[str, ...]

    def build(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        weights: Iterable[tuple[str, torch.Tensor]],
    ) -> Encoder:
        """Builds the encoder in ``dtype`` and loads ``weights`` its own way."""

    def close(self) -> None:
        """Gives back what the framework holds for the whole process."""


def start(
    implementation: Implementation, trees: dict[str, str], device: str
) -> Runtime:
    """Imports the implementation's framework from ``trees``."""
    missing = sorted(set(implementation.trees) - set(trees))
    assert not missing, (implementation.name, missing)
    for source in implementation.trees:
        package = Path(trees[source]) / source.replace("-", "_")
        if not (package / "__init__.py").is_file():
            raise MmparityError(
                f"{implementation.name} needs {source} at {trees[source]}, but there "
                f"is no package {package.name} there. Run `make sources apply`, or "
                f"give --tree {implementation.name}:{source}=DIR."
            )
    name = "hf_runtime" if implementation.family == "hf" else "vllm_runtime"
    module = import_module(f"mmparity.encoders.{name}")
    runtime: Runtime = module.start(implementation, trees, device)
    return runtime


def hook_map(implementation: Implementation) -> HookMap:
    """The name map of the implementation's family."""
    family = import_module(f"mmparity.encoders.{implementation.family}")
    found: HookMap = family.hook_map(ascend=implementation.ascend)
    return found


def describe(tower: Any, config: PretrainedConfig, **known: Any) -> dict[str, Any]:
    """The hyper-parameters of a built tower, under the same names everywhere.

    What the tower says itself is read from it and not from ``config``.
    """
    block = tower.blocks[0]
    return {
        "tower_class": type(tower).__name__,
        "attention_class": type(block.attn).__name__,
        "linear_class": type(block.attn.qkv).__name__,
        "norm_class": type(block.norm1).__name__,
        "activation_class": type(block.mlp.act_fn).__name__,
        "norm_eps": block.norm1.variance_epsilon,
        "num_heads": config.num_heads,
        "head_size": config.hidden_size // config.num_heads,
        "window_size": tower.window_size,
        "full_attention_blocks": list(tower.fullatt_block_indexes),
        "spatial_merge_size": tower.spatial_merge_size,
        **known,
    }


__all__ = ["HOOK_POINTS", "Encoder", "Runtime", "describe", "hook_map", "start"]
