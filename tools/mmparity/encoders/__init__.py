# SPDX-License-Identifier: Apache-2.0
"""The encoders, built from their source trees and ready to be captured.

One worker process builds encoders of one implementation only: each needs its
own ``sys.path``. Importing this package needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmparity.encoders.rules import TowerKind
from mmparity.errors import MmparityError
from mmparity.project import remedy
from mmparity.trace import hook_points
from mmparity.workload import models
from mmparity.workload.towers import TOWERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch
    from torch import nn
    from transformers import PretrainedConfig

    from mmparity.encoders.rules import HookMap
    from mmparity.workload.implementations import Implementation
    from mmparity.workload.models import Family
    from mmparity.workload.quantized import Quantized

HOOK_POINTS = {
    point.name: f"{point.layout}: {point.about}" for point in hook_points.every()
}
"""Canonical name -> layout and meaning, in order of execution."""


@dataclass(frozen=True)
class Encoder:
    """An encoder with its weights loaded.

    Attributes:
        model: the vision tower.
        hook_map: where its hook points are.
        forward: runs it on pixel values and grid_thw, both on the host, the way
            its framework does in production. Gives the embeddings of each image or
            clip, as the model around it does; None where there is no such model.
        hyper_parameters: what cannot be seen in tensors.
        given: what the model makes of embeddings that a user gives in place of
            pixels; on these, [tokens, out], and grid_thw.
    """

    model: nn.Module
    hook_map: HookMap
    forward: Callable[[torch.Tensor, torch.Tensor], Any]
    hyper_parameters: dict[str, Any]
    given: Callable[[torch.Tensor, torch.Tensor], Any] | None = None


@dataclass(frozen=True)
class Ranks:
    """How many ranks share an encoder, which of them this is, and where they meet.

    ``data_parallel``: each has the whole encoder and takes some of the images.
    """

    size: int = 1
    rank: int = 0
    meeting_point: str | None = None
    data_parallel: bool = False

    @property
    def shards(self) -> int:
        """Parts that the weights are cut into."""
        return 1 if self.data_parallel else self.size

    @property
    def shard(self) -> int:
        """The one of them that this rank has."""
        return 0 if self.data_parallel else self.rank


ALONE = Ranks()


class Runtime(Protocol):
    """A framework, imported from its trees once for the process."""

    @property
    def emulated(self) -> tuple[str, ...]:
        """The emulated operators that were called since the last build."""

    def build(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        weights: Iterable[tuple[str, torch.Tensor]],
        quantized: Quantized | None = None,
    ) -> Encoder:
        """Builds the encoder in ``dtype`` and loads ``weights`` its own way.

        ``quantized`` says which of its layers are W8A8.
        """

    def close(self) -> None:
        """Gives back what the framework holds for the whole process."""


def start(
    implementation: Implementation,
    trees: dict[str, str],
    device: str,
    ranks: Ranks = ALONE,
) -> Runtime:
    """Imports the implementation's framework from ``trees``."""
    missing = sorted(set(implementation.trees) - set(trees))
    assert not missing, (implementation.name, missing)
    for source in implementation.trees:
        package = Path(trees[source]) / source.replace("-", "_")
        if not (package / "__init__.py").is_file():
            raise MmparityError(
                f"{implementation.name} needs {source} at {trees[source]}, but there "
                f"is no package {package.name} there. Run `{remedy('make apply')}`, or "
                f"give --tree {implementation.name}:{source}=DIR."
            )
    name = "hf_runtime" if implementation.oracle else "vllm_runtime"
    module = _module(implementation.runtime or name)
    runtime: Runtime = module.start(implementation, trees, device, ranks)
    return runtime


def hook_map(
    implementation: Implementation,
    family: Family,
    deepstack: int = 0,
    *,
    float32: bool = False,
) -> HookMap:
    """The name map of an implementation's encoder of a family."""
    if family.name in TOWERS:
        described = TOWERS[family.name]
        maps, ascend = implementation.hook_maps, implementation.ascend
        of_tower: HookMap = _module("towers").hook_map(described, maps, ascend=ascend)
        return of_tower
    module = _module(implementation.hook_maps)
    subject = TowerKind(
        family.name,
        family.architecture,
        deepstack,
        ascend=implementation.ascend,
        pad_weights=implementation.pad_weights,
        native_attention=float32 and implementation.ascend,
    )
    found: HookMap = module.hook_map(subject)
    return replace(found, no_given=implementation.no_given.get(family.name, ""))


def _module(name: str) -> Any:
    """A module of this package, or one with a dot in its name."""
    return import_module(name if "." in name else f"mmparity.encoders.{name}")


def hook_map_of(
    implementation: Implementation, config: PretrainedConfig, *, float32: bool = False
) -> HookMap:
    """The name map for the encoder of a vision configuration."""
    deepstack = len(getattr(config, "deepstack_visual_indexes", None) or ())
    family = models.family_of(config)
    return hook_map(implementation, family, deepstack, float32=float32)


def describe(tower: Any, config: PretrainedConfig, **known: Any) -> dict[str, Any]:
    """The hyper-parameters of a built tower, under the same names everywhere.

    What the tower says itself is read from it and not from ``config``.
    """
    block = tower.blocks[0]
    norm, mlp = block.norm1, block.mlp
    activation = mlp.act_fn if hasattr(mlp, "act_fn") else mlp.act
    projection = getattr(block.attn, "qkv", None) or block.attn.q
    found = {
        "tower_class": type(tower).__name__,
        "attention_class": type(block.attn).__name__,
        "linear_class": type(projection).__name__,
        "norm_class": type(norm).__name__,
        "activation_class": type(activation).__name__,
        "norm_eps": norm.variance_epsilon
        if hasattr(norm, "variance_epsilon")
        else norm.eps,
        "num_heads": config.num_heads,
        "head_size": models.head_size(config),
        "spatial_merge_size": config.spatial_merge_size,
    }
    if hasattr(tower, "fullatt_block_indexes"):
        found["window_size"] = tower.window_size
        found["full_attention_blocks"] = list(tower.fullatt_block_indexes)
    if hasattr(tower, "deepstack_visual_indexes"):
        found["deepstack_blocks"] = list(tower.deepstack_visual_indexes)
    return found | known


__all__ = [
    "HOOK_POINTS",
    "Encoder",
    "Ranks",
    "Runtime",
    "describe",
    "hook_map",
    "hook_map_of",
    "start",
]
