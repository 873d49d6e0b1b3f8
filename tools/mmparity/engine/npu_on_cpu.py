# SPDX-License-Identifier: Apache-2.0
"""vLLM's CPU platform, with what vllm-ascend's platform answers about encoders."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform
from vllm_ascend.platform import NPUPlatform

from mmparity.platforms import borrow


class NpuOnCpuPlatform(CpuPlatform):  # type: ignore[misc]
    """The engine's platform of Ascend sides; imported in vLLM's processes only."""

    BORROWED: tuple[str, ...] = ()


NpuOnCpuPlatform.BORROWED = tuple(borrow(NpuOnCpuPlatform, NPUPlatform))
