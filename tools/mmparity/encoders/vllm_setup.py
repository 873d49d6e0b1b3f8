# SPDX-License-Identifier: Apache-2.0
"""What vLLM has before it builds a model: configuration, device and process group."""

from __future__ import annotations

import tempfile
import types
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PretrainedConfig

from mmparity.encoders import Ranks
from mmparity.encoders.devices import check_enough
from mmparity.workload import models, tower_weights
from mmparity.workload.towers import tower_of

_COLLECTIVES = {"cuda": "nccl", "npu": "hccl"}


def set_up(stack: ExitStack, device: str, ranks: Ranks, *, ascend: bool) -> Any:
    """Makes a configuration and a process group current until the stack is closed.

    The configuration has vLLM's defaults.
    """
    from vllm.config import CompilationConfig, VllmConfig, set_current_vllm_config

    # NPUPlatform turns every custom operator on.
    operators = {"compilation_config": CompilationConfig(custom_ops=["all"])}
    vllm_config = VllmConfig(**operators if ascend else {})
    vllm_config.parallel_config.tensor_parallel_size = ranks.size
    _without_compiling(vllm_config.compilation_config)
    stack.enter_context(set_current_vllm_config(vllm_config))
    _init_distributed(stack, _take_device(device, ranks), ranks)
    return vllm_config


def _without_compiling(compilation_config: Any) -> None:
    """As with enforce_eager: from 0.13 on, single operators are compiled otherwise."""
    from vllm.config import compilation

    modes = getattr(compilation, "CompilationMode", None)
    if modes is not None:
        compilation_config.mode = modes.NONE


def _take_device(device: str, ranks: Ranks) -> str:
    """Makes the rank's own device the current one; returns the backend to use."""
    if device == "cpu":
        return "gloo"
    runtime = getattr(torch, device)
    found = runtime.device_count()
    if ranks.size > 1:
        runtime.set_device(ranks.rank % found)
    return backend_of(device, ranks.size, found)


def backend_of(device: str, ranks: int, devices: int) -> str:
    """torch.distributed's backend for ranks that have ``devices`` between them."""
    check_enough(device, ranks, devices)
    if device == "cuda" and (ranks == 1 or ranks > devices):
        return "gloo"  # ranks that share a GPU, which nccl refuses
    return _COLLECTIVES.get(device, "gloo")


def _init_distributed(stack: ExitStack, backend: str, ranks: Ranks) -> None:
    from vllm.distributed import parallel_state

    meeting_point = ranks.meeting_point
    if meeting_point is None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mmparity-"))
        meeting_point = f"file://{folder}/rendezvous"
    parallel_state.init_distributed_environment(
        ranks.size, ranks.rank, meeting_point, ranks.rank, backend
    )
    stack.callback(parallel_state.destroy_distributed_environment)
    parallel_state.initialize_model_parallel(ranks.size, backend=backend)
    stack.callback(parallel_state.destroy_model_parallel)


def model_config(config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """What the encoder's code reads of vLLM's ModelConfig."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tower = tower_of(config)
    hf_config: Any = tower and tower_weights.config_of(tower)
    if tower is None:
        family = models.family_of(config)
        hf_config = CONFIG_MAPPING[family.name]()
        *way, last = family.path
        for name in way:
            hf_config = getattr(hf_config, name)
        setattr(hf_config, last, config)
    return types.SimpleNamespace(
        hf_config=hf_config,
        hf_text_config=getattr(hf_config, "text_config", hf_config),
        dtype=dtype,
        quantization=None,
        multimodal_config=None,
        enforce_eager=True,
        word_embeddings_untied_by_checkpoint=True,
    )
