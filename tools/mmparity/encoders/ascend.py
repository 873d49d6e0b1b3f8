# SPDX-License-Identifier: Apache-2.0
"""What vllm-ascend's worker and build do, for its source trees."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from mmparity.quantized import FLOAT, W8A8

_A2_SOC = 220
_A3_SOCS = range(250, 256)
_A2, _A3 = ("_910B", "ASCEND910B1"), ("_910_93", "ASCEND910_9391")
"""vllm-ascend's names of the device, in 0.12.0 and in 0.11.0."""


def provide_build_info(tree: Path, device: str) -> None:
    """The module that vllm-ascend's build writes, which a source tree lacks.

    It says Atlas A2 where no NPU says otherwise.
    """
    if (tree / "vllm_ascend" / "_build_info.py").exists():
        return
    soc = _A2_SOC
    if device == "npu":
        import torch_npu

        soc = torch_npu.npu.get_soc_version()
    device_type, soc_version = _A3 if soc in _A3_SOCS else _A2
    module = types.ModuleType("vllm_ascend._build_info")
    vars(module).update(
        __device_type__=device_type,
        __soc_version__=soc_version,
        __sleep_mode_enabled__=False,
    )
    sys.modules[module.__name__] = module
    vars(import_module("vllm_ascend"))["_build_info"] = module


def init(vllm_config: Any, pad_weights: bool) -> None:
    """What vllm-ascend's worker does before it loads a model.

    With ``pad_weights`` its attention operator says that encoders pad heads in
    their weights.
    """
    from vllm_ascend import utils

    utils.adapt_patch()
    utils.register_ascend_customop(vllm_config)
    if pad_weights:
        operator = import_module("vllm_ascend.ops.mm_encoder").AscendMMEncoderAttention
        assert hasattr(operator, "pad_weights"), operator
        operator.pad_weights = True
    configure(vllm_config)


def configure(vllm_config: Any) -> None:
    """Of that, what its models read."""
    from vllm_ascend import utils
    from vllm_ascend.ascend_config import init_ascend_config

    init_ascend_config(vllm_config)
    if hasattr(utils, "_ENABLE_NZ"):  # 0.11.0 remembers the first configuration
        utils.is_enable_nz(vllm_config=vllm_config)


def quant_config(names: Iterable[str], quantized: frozenset[str]) -> Any:
    """Its configuration of a checkpoint whose layers ``quantized`` are W8A8."""
    from vllm_ascend.quantization.quant_config import AscendQuantConfig

    layers = [n.removesuffix(".weight") for n in names if n.endswith(".weight")]
    return AscendQuantConfig(
        {
            f"visual.{layer}.weight": W8A8 if layer in quantized else FLOAT
            for layer in layers
        }
    )
