# SPDX-License-Identifier: Apache-2.0
"""What vLLM loads in each process of an Ascend side, as it loads vllm-ascend.

vLLM's CPU engine serves; the vision encoder is vllm-ascend's. So the platform is
vLLM's for CPUs with the encoder hooks of vllm-ascend's NPUPlatform, and of
vllm-ascend's models and operators only the encoders' are registered: the language
model runs on vLLM's CPU kernels on every side.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path

from mmparity.encoders import npu_emulation
from mmparity.engine.offline import sides
from mmparity.engine.offline.overlay import SIDE_VARIABLE


def platform() -> str:
    """vLLM's platform plugin: the class to use."""
    _emulate()
    return "mmparity.engine.offline.npu_on_cpu.NpuOnCpuPlatform"


def register() -> None:
    """vLLM's general plugin: vllm-ascend's models or operators, before any is built."""
    _emulate()
    side = sides.get(os.environ[SIDE_VARIABLE])
    if side.models:
        module, _, name = side.models.partition(":")
        getattr(import_module(module), name)()
    if side.operators:
        _register_operators(side.operators)


def _register_operators(names: tuple[str, ...]) -> None:
    """Of vllm-ascend's own list; on a CPU their NPU method is called."""
    from vllm.model_executor.custom_op import CustomOp
    from vllm_ascend import utils

    utils.register_ascend_customop()
    for name in [name for name in CustomOp.op_registry_oot if name not in names]:
        del CustomOp.op_registry_oot[name]
    for name in names:
        operator = CustomOp.op_registry_oot[name]
        operator.forward_cpu = operator.forward_oot


@cache
def _emulate() -> None:
    import transformers.modeling_utils  # noqa: F401  it looks for a real torch_npu

    from mmparity.encoders import ascend

    npu_emulation.install()
    import vllm_ascend

    ascend.provide_build_info(Path(vllm_ascend.__path__[0]).parent, "cpu")
