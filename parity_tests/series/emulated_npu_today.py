# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin `emulated_npu` for vllm-ascend 0.30.0rc2.

It names devices by generation, and vLLM 0.30.0 asks its platform while it is imported.
"""

import sys
import types

import transformers.modeling_utils  # noqa: F401  it looks for a real torch_npu

from mmparity.encoders import npu_emulation, platform

npu_emulation.install()
for name in ("fla_npu", "fla_npu.ops", "fla_npu.ops.ascendc"):  # of CANN
    sys.modules[name] = npu_emulation._Module(name)
build_info = types.ModuleType("vllm_ascend._build_info")
vars(build_info).update(
    __device_type__="A2", __soc_version__="ascend910b1", __sleep_mode_enabled__=False
)
sys.modules[build_info.__name__] = build_info
platform.install("cpu", ascend=False)
platform.install("cpu", ascend=True)
