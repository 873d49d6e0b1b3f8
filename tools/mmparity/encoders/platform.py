# SPDX-License-Identifier: Apache-2.0
"""The platform that vLLM sees: out of tree, on whatever device the worker uses.

A source tree has no compiled kernels and no installed distribution, so vLLM
finds no platform by itself. On a real NPU vllm-ascend's own platform is used.
"""

from __future__ import annotations

import sys
from typing import Any

ENCODER_HOOKS = (
    "get_vit_attn_backend",
    "get_supported_vit_attn_backends",
    "additional_forward_context",
    "set_additional_forward_context",
)
"""What vLLM asks a platform for the sake of encoders. An Ascend implementation
on a CPU takes these from its tree's NPUPlatform, so that the shipped hook runs."""

_PINNED = "PIN_MEMORY"
_DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA", "npu": "PrivateUse1"}


def _ask_again(platform: type[Any]) -> None:
    """Corrects what 0.30 and later ask while vllm itself is imported, and keep."""
    for module in list(sys.modules.values()):
        if hasattr(module, _PINNED) and module.__name__.startswith("vllm."):
            setattr(module, _PINNED, platform.is_pin_memory_available())


def install(device: str, *, ascend: bool) -> str:
    """Makes vLLM use the platform for ``device``; returns what was installed.

    Must run before any module of vLLM that looks at the platform, with
    ``torch_npu``, emulated or real, importable if ``ascend``.
    """
    from vllm import platforms

    platform = stand_in(device)
    borrowed = []
    if ascend and device == "npu":
        platform = _npu_platform()
    elif ascend:
        borrowed = borrow(platform, _npu_platform())
    platforms._current_platform = platform()
    return f"{platform.__name__}({', '.join(borrowed)})"


def stand_in(device: str) -> type[Any]:
    """Makes vLLM use the platform of a device before vllm-ascend's can be there.

    What vllm-ascend imports looks at it, and keeps what it saw.
    """
    from vllm import platforms

    platform = _out_of_tree(device)
    platforms._current_platform = platform()
    _ask_again(platform)
    return platform


def _npu_platform() -> type[Any]:
    from vllm_ascend.platform import NPUPlatform

    return NPUPlatform


def _out_of_tree(device: str) -> type[Any]:
    from vllm.platforms.interface import Platform, PlatformEnum

    class OutOfTreePlatform(Platform):  # type: ignore[misc]
        _enum = PlatformEnum.OOT
        device_name = device_type = device
        dispatch_key = _DISPATCH_KEYS[device]

        @classmethod
        def is_pin_memory_available(cls) -> bool:
            return False

    return OutOfTreePlatform


def borrow(platform: type[Any], lender: type[Any]) -> list[str]:
    """Copies the hooks that ``lender`` itself defines; returns their names."""
    names = [name for name in ENCODER_HOOKS if name in vars(lender)]
    for name in names:
        setattr(platform, name, vars(lender)[name])
    return names
