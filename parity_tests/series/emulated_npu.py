# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: vllm-ascend's own tests on a machine without an NPU.

`vllm_src/sources.toml` names it for the tests of that tree, which come after vLLM's
tree on the path. It sets up what a build and a device would have: an emulated
torch_npu, the build info, and a CPU platform that borrows NPUPlatform's hooks.
"""

import sys
import types

import transformers.modeling_utils  # noqa: F401  it looks for a real torch_npu

from mmparity.encoders import npu_emulation, platform

npu_emulation.install()
build_info = types.ModuleType("vllm_ascend._build_info")
vars(build_info).update(
    __device_type__="_910B", __soc_version__="ascend910b1", __sleep_mode_enabled__=False
)
sys.modules[build_info.__name__] = build_info
platform.install("cpu", ascend=True)
