# SPDX-License-Identifier: Apache-2.0
"""transformers' encoder in float64: the oracle.

transformers casts to float32 in its norms and its rotary embedding, for the
sake of half precision. Here that would round, so those casts do nothing. Weights
stay in the checkpoint's dtype and become float64 for the time of one block.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PretrainedConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

from mmparity.encoders import Encoder, describe
from mmparity.encoders.rules import Declared, HookMap, OperatorTap, Tap
from mmparity.encoders.vllm_0_12 import BLOCK, CONTAINER
from mmparity.implementations import Implementation

_SEGMENT = ("squeeze.0", "tokens_first")
_ROTARY = ("fold_halves",)

MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    "": (Tap("last_hidden_state", "output"),),
    "patch_embed": (Tap("patch_embed", "output"),),
    "patch_embed.proj": Declared("patch_embed only reshapes its output"),
    "rotary_pos_emb": Declared("angles by position; taken as rotary.cos and .sin"),
    "blocks.0": (
        Tap("embeddings", "input.0"),
        Tap("rotary.cos", "input.position_embeddings.0", _ROTARY),
        Tap("rotary.sin", "input.position_embeddings.1", _ROTARY),
    ),
    BLOCK: (Tap(BLOCK, "output"),),
    f"{BLOCK}.norm1": (Tap(f"{BLOCK}.norm1", "output"),),
    f"{BLOCK}.attn": CONTAINER,
    f"{BLOCK}.attn.qkv": (Tap(f"{BLOCK}.attn.qkv", "output", ("split_qkv",)),),
    f"{BLOCK}.attn.proj": (Tap(f"{BLOCK}.attn.proj", "output"),),
    f"{BLOCK}.norm2": (
        Tap(f"{BLOCK}.attn_residual", "input.0"),
        Tap(f"{BLOCK}.norm2", "output"),
    ),
    f"{BLOCK}.mlp": CONTAINER,
    f"{BLOCK}.mlp.gate_proj": (
        Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(0, 2)),
    ),
    f"{BLOCK}.mlp.up_proj": (Tap(f"{BLOCK}.mlp.gate_up_proj", "output", part=(1, 2)),),
    f"{BLOCK}.mlp.act_fn": Declared("of the gate alone; taken with up at down_proj"),
    f"{BLOCK}.mlp.down_proj": (
        Tap(f"{BLOCK}.mlp.act_fn", "input.0"),
        Tap(f"{BLOCK}.mlp.down_proj", "output"),
    ),
    "merger": CONTAINER,
    "merger.ln_q": (Tap("merger.ln_q", "output"),),
    "merger.mlp": CONTAINER,
    "merger.mlp.0": (Tap("merger.mlp.0", "output"),),
    "merger.mlp.1": (Tap("merger.mlp.1", "output"),),
    "merger.mlp.2": (Tap("merger.mlp.2", "output"),),
}
OPERATORS = (
    OperatorTap(
        target="encoder:get_window_index",
        inside="",
        parameters=("grid_thw",),
        taps=(Tap("window_index", "output.0"),),
    ),
    OperatorTap(
        target=f"{modeling.__name__}:ALL_ATTENTION_FUNCTIONS[sdpa]",
        inside=f"{BLOCK}.attn",
        parameters=("module", "query", "key", "value"),
        taps=(
            Tap(f"{BLOCK}.seqlens", "input.query", (*_SEGMENT, "length"), None, True),
            Tap(f"{BLOCK}.attn.q", "input.query", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.k", "input.key", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.v", "input.value", _SEGMENT, None, True),
            Tap(f"{BLOCK}.attn.context", "output.0", ("squeeze.0",), None, True),
        ),
        scale="scaling",
    ),
)


def hook_map(*, ascend: bool) -> HookMap:
    """The name map."""
    return HookMap(MODULES, OPERATORS)


class HfRuntime:
    """transformers; it needs no source tree."""

    emulated: tuple[str, ...] = ()

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def build(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        weights: Iterable[tuple[str, torch.Tensor]],
    ) -> Encoder:
        """Builds the encoder; its arithmetic is float64, its weights as stored."""
        assert dtype == torch.float64, dtype
        config = copy.deepcopy(config)
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            model = modeling.Qwen2_5_VisionTransformerPretrainedModel(config)
        stored = {name: tensor.to(self.device) for name, tensor in weights}
        model.load_state_dict(stored, strict=True, assign=True)
        # Its buffer is not in the checkpoint, and was not computed on "meta".
        rotary_dim = config.hidden_size // config.num_heads // 2
        rotary = modeling.Qwen2_5_VisionRotaryEmbedding(rotary_dim)
        model.rotary_pos_emb = rotary.double().to(self.device)
        model.requires_grad_(False).eval()
        for group in (model.patch_embed, *model.blocks, model.merger):
            _widen_while_running(group)
        return Encoder(
            model=model,
            hook_map=hook_map(ascend=False),
            forward=_forward_of(model, self.device),
            hyper_parameters=describe(model, config, backend="sdpa"),
        )

    def close(self) -> None:
        """Holds nothing."""


def start(
    implementation: Implementation, trees: dict[str, str], device: str
) -> HfRuntime:
    """The oracle's runtime."""
    return HfRuntime(device)


class _KeepFloat64(TorchFunctionMode):
    """Turns casts of float64 tensors to float32 into nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        casts = func is torch.Tensor.float or (
            func is torch.Tensor.to and torch.float32 in (*args[1:], *kwargs.values())
        )
        if casts and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **kwargs)


def _forward_of(model: nn.Module, device: torch.device) -> Callable[..., None]:
    def forward(pixel_values: torch.Tensor, grid_thw: torch.Tensor) -> None:
        with _KeepFloat64():
            model(pixel_values.to(device, torch.float64), grid_thw.to(device))

    return forward


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
