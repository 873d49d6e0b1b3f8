# SPDX-License-Identifier: Apache-2.0
"""What vllm-ascend's worker and build do, for its source trees."""

from __future__ import annotations

import copy
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError
from mmparity.workload.quantized import DESCRIPTION, Quantized

PAD_WEIGHTS = "VLLM_ASCEND_PAD_VIT_WEIGHTS"
"""The switch of the patched vllm-ascend, for its users as for this harness."""

_A2_SOC = 220
_A3_SOCS = range(250, 256)
_A2, _A3 = ("_910B", "ASCEND910B1"), ("_910_93", "ASCEND910_9391")
"""vllm-ascend's names of the device, in 0.12.0 and in 0.11.0."""
_NEW_NAMES = {"_910B": "A2", "_910_93": "A3"}
"""The first of them, in 0.13.0 and later."""


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
    if "_910B" not in (tree / "vllm_ascend" / "utils.py").read_text():
        device_type = _NEW_NAMES[device_type]
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

    With ``pad_weights`` encoders pad heads in their weights, as they do for a user
    who sets ``PAD_WEIGHTS``; the user's own setting is overwritten.
    """
    from vllm_ascend import utils

    utils.adapt_patch()
    utils.register_ascend_customop(vllm_config)
    os.environ[PAD_WEIGHTS] = str(int(pad_weights))
    configure(vllm_config)


def configure(vllm_config: Any) -> None:
    """Of that, what its models read."""
    from vllm_ascend import utils
    from vllm_ascend.ascend_config import init_ascend_config

    init_ascend_config(vllm_config)
    if hasattr(utils, "_ENABLE_NZ"):  # 0.11.0 remembers the first configuration
        utils.is_enable_nz(vllm_config=vllm_config)


def quant_config(quantized: Quantized, model: Any) -> Any:
    """Its configuration of a checkpoint, told of ``model``'s names as vLLM tells it.

    The checkpoint's description is handed on as it is.
    """
    from vllm.model_executor.model_loader.utils import configure_quant_config
    from vllm.model_executor.models.interfaces import SupportsQuant
    from vllm_ascend.quantization.quant_config import AscendQuantConfig

    config = AscendQuantConfig.from_config(copy.deepcopy(quantized.description))
    configure_quant_config(config, model)
    if issubclass(model, SupportsQuant):  # these are told when one is made
        model.__new__(model, config)
    return config


@contextmanager
def naming_layers(implementation: str, quantized: Quantized | None) -> Iterator[None]:
    """Says which of a checkpoint's names a release does not find, where it does not."""
    try:
        yield
    except KeyError as error:
        if quantized is None:
            raise
        named = next(name for name in quantized.description if "blocks.0." in name)
        raise MmparityError(
            f"{implementation} looks for {error.args[0]!r} in {DESCRIPTION}, which has "
            f"names like {named!r}. Where a release does not map names, it needs a "
            "checkpoint that has vLLM's own ('visual.blocks.0...')."
        ) from error
