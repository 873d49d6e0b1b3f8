# SPDX-License-Identifier: Apache-2.0
"""vLLM, with or without vllm-ascend, from source trees and without an engine.

Everything that a worker of vLLM does before it loads a model and that an
encoder can notice is done here by the tree's own functions; nothing in a tree
is replaced, and nothing is written into it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from mmparity.encoders import (
    Encoder,
    Ranks,
    ascend,
    describe,
    hook_map_of,
    installed,
    npu_emulation,
    platform,
    tower_modules,
    vllm_setup,
)
from mmparity.encoders.import_errors import importing
from mmparity.encoders.npu_emulation import compiled
from mmparity.encoders.vllm_model import ModelAround
from mmparity.encoders.without_cuda import import_torchvision
from mmparity.errors import MmparityError
from mmparity.project import user_cache
from mmparity.workload import models
from mmparity.workload.implementations import Implementation
from mmparity.workload.quantized import Quantized
from mmparity.workload.towers import Tower, tower_of

_ENVIRONMENT = {
    "VLLM_PLUGINS": "",  # an installed plugin must not choose the platform
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "GLOO_SOCKET_IFNAME": "lo",
}
Weights = Iterable[tuple[str, torch.Tensor]]
NORM_EPS = 1e-6
"""transformers hard-codes it; vLLM reads it from the language model."""


class VllmRuntime:
    """An imported vLLM with its one-process distributed environment."""

    def __init__(
        self,
        implementation: Implementation,
        trees: dict[str, str],
        device: str,
        ranks: Ranks,
    ) -> None:
        self.implementation = implementation
        self.trees = trees
        self.device = torch.device(device)
        if implementation.installed:
            self.platform = installed.take_platform(device)
            self.implementation = installed.as_found(implementation, device)
        else:
            self.platform = platform.install(device, ascend=implementation.ascend)
        self._stack = ExitStack()
        self.ranks = ranks
        self.vllm_config = vllm_setup.set_up(
            self._stack, device, ranks, ascend=self.implementation.ascend
        )

    @property
    def emulated(self) -> tuple[str, ...]:
        """The emulated operators that were called since the last build."""
        return npu_emulation.called_names()

    def build(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        weights: Weights,
        quantized: Quantized | None = None,
    ) -> Encoder:
        """Builds the tower as vLLM's model loader does."""
        with importing(self.implementation, self.trees):
            self._prepare(config, dtype)
            described = tower_of(config)
            if described is not None:
                return self._build_described(described, config, dtype, weights)
            return self._build_known(config, dtype, weights, quantized)

    def _build_known(
        self, config: Any, dtype: torch.dtype, weights: Weights, quantized: Any
    ) -> Encoder:
        """The vision tower of a model, with that around it."""
        build, model = self._classes(models.family_of(config).name)
        with (
            _default_dtype(dtype),
            self.device,
            ascend.naming_layers(self.implementation.name, quantized),
        ):
            tower = build(
                config,
                norm_eps=NORM_EPS,
                quant_config=self._quant_config(model, quantized),
                prefix="visual",
                **self._spread(build),
            )
        _load(tower, weights, check=not quantized)
        self._process_weights(tower)
        tower.requires_grad_(False).eval()
        around = ModelAround(model, tower, self.vllm_config, self.ranks.data_parallel)
        names = hook_map_of(self.implementation, config, float32=dtype == torch.float32)
        return Encoder(
            model=tower,
            hook_map=names,
            forward=self._forward_of(around, dtype),
            given=around.of_embeddings,
            hyper_parameters=describe(
                tower,
                config,
                platform=self.platform,
                tensor_parallel=self.ranks.shards,
                **_operator(tower),
            ),
        )

    def _build_described(
        self, tower: Tower, config: Any, dtype: torch.dtype, weights: Weights
    ) -> Encoder:
        """The vision module of a model alone."""
        with _default_dtype(dtype), self.device:
            module = tower_modules.built(tower, self.vllm_config)
        _check_loaded(module, tower_modules.load(module, weights))
        self._process_weights(module)
        module.requires_grad_(False).eval()
        names = hook_map_of(self.implementation, config)
        known = tower_modules.describe(module, names, tower) | {
            "platform": self.platform
        }
        run = tower_modules.forward_of(tower, module, self.device, dtype, tower.inputs)
        return Encoder(module, names, run, known)

    def close(self) -> None:
        """Takes the distributed environment down."""
        self._stack.close()

    def _prepare(self, config: PretrainedConfig, dtype: torch.dtype) -> None:
        """What vLLM's worker does before it builds each model."""
        npu_emulation.called.clear()
        npu_emulation.operators.float32_attention = (
            dtype == torch.float32 and self.implementation.float32_attention
        )
        self.vllm_config.model_config = vllm_setup.model_config(config, dtype)
        # It holds the layers of the encoder that was built before.
        self.vllm_config.compilation_config.static_forward_context.clear()
        if self.implementation.ascend:
            ascend.init(self.vllm_config, self.implementation.pad_weights)

    def _spread(self, build: Any) -> dict[str, bool]:
        """How a tower is told that ranks share images; later it reads that itself."""
        if not self.ranks.data_parallel:
            return {}
        if "use_data_parallel" not in inspect.signature(build).parameters:
            raise MmparityError(
                f"{self.implementation.name} is not run with --mm-encoder-tp-mode data "
                "yet: leave it out."
            )
        return {"use_data_parallel": True}

    def _quant_config(self, model: Any, quantized: Quantized | None) -> Any:
        if quantized is None:
            return None
        if not self.implementation.ascend:
            raise MmparityError(
                f"{self.implementation.name} cannot load W8A8 as vllm-ascend does."
            )
        return ascend.quant_config(quantized, model)

    def _process_weights(self, tower: nn.Module) -> None:
        loader = import_module("vllm.model_executor.model_loader.utils")
        model_config = self.vllm_config.model_config
        loader.process_weights_after_loading(tower, model_config, self.device)

    def _classes(self, family: str) -> tuple[Any, Any]:
        """The tower, and the model around it."""
        given = self.implementation.classes[family]
        module = import_module(given.module)
        return getattr(module, given.tower), getattr(module, given.model)

    def _forward_of(
        self, model: ModelAround, dtype: torch.dtype
    ) -> Callable[[torch.Tensor, torch.Tensor], Any]:
        """Pixels come in the model's dtype, as vLLM's processors give them."""

        def forward(pixel_values: torch.Tensor, grid_thw: torch.Tensor) -> Any:
            return model.of_pixels(pixel_values.to(self.device, dtype), grid_thw)

        return forward


def start(
    implementation: Implementation, trees: dict[str, str], device: str, ranks: Ranks
) -> VllmRuntime:
    """Imports vLLM from ``trees``; once per process."""
    with importing(implementation, trees):
        return _started(implementation, trees, device, ranks)


def _started(
    implementation: Implementation, trees: dict[str, str], device: str, ranks: Ranks
) -> VllmRuntime:
    import_torchvision()
    import transformers.modeling_utils  # noqa: F401  it looks for a real torch_npu

    os.environ.update(_ENVIRONMENT)
    _keep_trees_clean()
    folders = [str(Path(trees[source]).resolve()) for source in implementation.trees]
    sys.path[:0] = folders
    if implementation.ascend:
        if device != "npu":
            npu_emulation.install(implementation.torch_npu)
            compiled.install(Path(trees["vllm-ascend"]))
        platform.stand_in(device)
        ascend.provide_build_info(Path(trees["vllm-ascend"]), device)
    return VllmRuntime(implementation, trees, device, ranks)


def _keep_trees_clean() -> None:
    """Compiled modules go beside the user's caches and not into the trees."""
    sys.pycache_prefix = str(user_cache() / "pycache")


def _load(tower: Any, weights: Weights, *, check: bool) -> None:
    """Loads; vLLM's loader does not check quantised models for completeness either."""
    loaded = tower.load_weights(weights)
    if check:
        _check_loaded(tower, loaded)


def _check_loaded(tower: nn.Module, loaded: Iterable[str]) -> None:
    missing = sorted(set(dict(tower.named_parameters())) - set(loaded))
    if missing:
        raise MmparityError(
            f"the checkpoint left {len(missing)} parameters of {type(tower).__name__} "
            f"unset, the first is {missing[0]}."
        )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _operator(tower: Any) -> dict[str, Any]:
    """The attention operator, where it is a module, and the backend chosen."""
    attention = tower.blocks[0].attn
    operator = getattr(attention, "attn", None)
    backend = getattr(operator or attention, "attn_backend", None)
    return {
        "backend": getattr(backend, "name", None),
        "attention_operator_class": type(operator).__name__ if operator else None,
        "scale": getattr(operator, "scale", None),
        "padded_head_size": getattr(operator, "padded_head_size", None),
    }
