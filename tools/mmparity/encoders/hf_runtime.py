# SPDX-License-Identifier: Apache-2.0
"""transformers' encoder: in float64 the oracle, in another dtype a side.

transformers casts to float32 in its norms and its rotary embedding, for the
sake of half precision. In float64 that would round, so those casts do nothing. Weights
stay in the checkpoint's dtype and become float64 for the time of one block.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PretrainedConfig

from mmparity.encoders import Encoder, Ranks, describe, hook_map_of, tower_modules
from mmparity.encoders.without_cuda import import_torchvision
from mmparity.workload import models, tower_weights
from mmparity.workload.cases import is_clips
from mmparity.workload.checkpoint import tower_class
from mmparity.workload.implementations import Implementation
from mmparity.workload.quantized import ExactLinear, Quantized
from mmparity.workload.towers import Tower, tower_of


class HfRuntime:
    """transformers; it needs no source tree."""

    emulated: tuple[str, ...] = ()

    def __init__(self, implementation: Implementation, device: str) -> None:
        self.implementation = implementation
        self.device = torch.device(device)

    def build(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        weights: Iterable[tuple[str, torch.Tensor]],
        quantized: Quantized | None = None,
    ) -> Encoder:
        """Builds the encoder; in float64 its weights are as stored."""
        described = tower_of(config)
        if described is not None:
            return self._build_described(described, config, dtype, dict(weights))
        exact = dtype == torch.float64
        config = copy.deepcopy(config)
        config._attn_implementation = "sdpa"
        tower = tower_class(config)
        with torch.device("meta"):
            model = tower(config)
            for layer in quantized.layers if quantized else ():
                weight = model.get_submodule(layer).weight
                model.set_submodule(layer, ExactLinear(*weight.shape))
        stored = {
            name: tensor.to(self.device) if exact else tensor.to(self.device, dtype)
            for name, tensor in weights
        }
        model.load_state_dict(stored, strict=True, assign=True)
        # Its buffer is not in the checkpoint, and was not computed on "meta".
        rotary = type(model.rotary_pos_emb)(models.head_size(config) // 2)
        model.rotary_pos_emb = rotary.to(self.device)
        model.requires_grad_(False).eval()
        if exact:
            _make_exact(model)
        around = _ModelAround(model, config, self.device, dtype)
        return Encoder(
            model=model,
            hook_map=hook_map_of(self.implementation, config),
            forward=around.of_pixels,
            given=around.of_embeddings,
            hyper_parameters=describe(model, config, backend="sdpa"),
        )

    def _build_described(
        self,
        tower: Tower,
        config: Any,
        dtype: torch.dtype,
        weights: dict[str, torch.Tensor],
    ) -> Encoder:
        """A small tower, whole in ``dtype``."""
        model = tower_weights.oracle_tower(tower).to(self.device, dtype)
        names = [name for name, _ in model.named_parameters()]
        stored = tower_weights.oracle_state(tower, names, weights.items())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in stored:
                    parameter.copy_(stored[name].view_as(parameter))
        model.requires_grad_(False).eval()
        way = tower.oracle_inputs or tower.inputs
        run = tower_modules.forward_of(tower, model, self.device, dtype, way)

        def exact(pixels: torch.Tensor, grid: torch.Tensor) -> None:
            with _exactly(dtype, _MakeFloat64()):
                run(pixels, grid)

        hook_map = hook_map_of(self.implementation, config)
        return Encoder(
            model, hook_map, exact, tower_modules.describe(model, hook_map, tower)
        )

    def close(self) -> None:
        """Holds nothing."""


def start(
    implementation: Implementation, trees: dict[str, str], device: str, ranks: Ranks
) -> HfRuntime:
    """The oracle's runtime."""
    assert ranks.size == 1, ranks
    import_torchvision()
    return HfRuntime(implementation, device)


def _make_exact(model: Any) -> None:
    """Lets it compute in float64."""
    model.rotary_pos_emb = model.rotary_pos_emb.double()
    if hasattr(model, "pos_embed"):  # its dtype decides that of other tensors
        model.pos_embed = model.pos_embed.double()
    mergers = getattr(model, "deepstack_merger_list", ())
    for group in (model.patch_embed, *model.blocks, model.merger, *mergers):
        _widen_while_running(group)


class _KeepFloat64(TorchFunctionMode):
    """Turns casts of float64 tensors to float32 into nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_narrowing(func, args, kwargs) and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **kwargs)


class _MakeFloat64(_KeepFloat64):
    """The same, and what would be made float32 of integers is made float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_narrowing(func, args, kwargs) and not args[0].is_complex():
            return args[0].double()
        return func(*args, **kwargs)


def _is_narrowing(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call casts to float32."""
    given = (*args[1:], *kwargs.values())
    to = func is torch.Tensor.to and any(one is torch.float32 for one in given)
    return to or func is torch.Tensor.float


@contextmanager
def _float64_by_default() -> Iterator[None]:
    """For tensors that are made on the way, such as those of positions."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _exactly(dtype: torch.dtype, casts: _KeepFloat64) -> Iterator[None]:
    """In float64, what a tower casts or makes on the way is float64, too."""
    if dtype != torch.float64:
        yield
        return
    with casts, _float64_by_default():
        yield


@dataclass(frozen=True)
class _Visual:
    """The tower, as transformers' model around it calls it."""

    tower: nn.Module
    spatial_merge_size: int
    dtype: torch.dtype

    def __call__(
        self, pixel_values: torch.Tensor, grid_thw: torch.Tensor, **options: Any
    ) -> Any:
        """``options`` say how transformers 5 wraps the result, which is the default."""
        return self.tower(pixel_values, grid_thw)


class _ModelAround:
    """transformers' model around a tower, of which only the features are asked."""

    def __init__(
        self,
        tower: nn.Module,
        config: PretrainedConfig,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        family = models.family_of(config)
        module = import_module(f"transformers.models.{family.modeling}")
        kind = getattr(module, family.model)
        self.model: Any = nn.Module.__new__(kind)
        nn.Module.__init__(self.model)
        self.model.visual = _Visual(tower, config.spatial_merge_size, dtype)
        self.cell = config.spatial_merge_size**2
        self.device, self.dtype = device, dtype

    def of_pixels(
        self, pixel_values: torch.Tensor, grid_thw: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The embeddings of each item; deepstack's stand behind them, as in vLLM."""
        clips = is_clips(grid_thw.tolist())
        model = self.model
        features = model.get_video_features if clips else model.get_image_features
        pixels = pixel_values.to(self.device, self.dtype)
        with _exactly(self.dtype, _KeepFloat64()):
            found = features(pixels, grid_thw.to(self.device))
        found = getattr(found, "pooler_output", found)  # of transformers 5
        deepstack: list[torch.Tensor] = []
        if isinstance(found[-1], list):  # of Qwen3-VL
            found, deepstack = found
        whole = found if isinstance(found, torch.Tensor) else torch.cat(found)
        return self.of_embeddings(torch.cat([whole, *deepstack], 1), grid_thw)

    def of_embeddings(
        self, embeddings: torch.Tensor, grid_thw: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """They are those of each item, one after the other."""
        return embeddings.split((grid_thw.prod(-1) // self.cell).tolist())


def _widen_while_running(group: nn.Module) -> None:
    """Makes the parameters of ``group`` float64 around its forward."""
    narrow: list[tuple[nn.Module, str, nn.Parameter]] = []

    def widen(module: nn.Module, args: Any) -> None:
        for child in module.modules():
            for name, parameter in child.named_parameters(recurse=False):
                narrow.append((child, name, parameter))
                wide = nn.Parameter(parameter.double(), requires_grad=False)
                setattr(child, name, wide)

    def restore(module: nn.Module, args: Any, output: Any) -> None:
        for child, name, parameter in narrow:
            setattr(child, name, parameter)
        narrow.clear()

    group.register_forward_pre_hook(widen)
    group.register_forward_hook(restore, always_call=True)
