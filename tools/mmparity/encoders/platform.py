# SPDX-License-Identifier: Apache-2.0
"""The platform that vLLM sees: out of tree, on whatever device the worker uses.

A source tree has no compiled kernels and no installed distribution, so vLLM
finds no platform by itself. On a real NPU vllm-ascend's own platform is used.
"""

from __future__ import annotations

from typing import Any

ENCODER_HOOKS = (
    "get_vit_attn_backend",
    "additional_forward_context",
)
"""What vLLM asks a platform for the sake of encoders. An Ascend implementation
on a CPU takes these from its tree's NPUPlatform, so that the shipped hook runs."""

_DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA", "npu": "PrivateUse1"}


def install(device: str, *, ascend: bool) -> str:
    """Makes vLLM use the platform for ``device``; returns what was installed.

    Must run before any module of vLLM that looks at the platform, with
    ``torch_npu``, emulated or real, importable if ``ascend``.
    """
    from vllm import platforms

    platform = _npu_platform() if ascend and device == "npu" else _out_of_tree(device)
    borrowed = []
    if ascend and device != "npu":
        borrowed = borrow(platform, _npu_platform())
    platforms._current_platform = platform()
    return f"{platform.__name__}({', '.join(borrowed)})"


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
