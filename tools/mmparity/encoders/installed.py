# SPDX-License-Identifier: Apache-2.0
"""The vLLM that this Python imports: its platform, and which hook points it has."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmparity.encoders import ascend_0_30, vllm_0_12, vllm_0_13
from mmparity.encoders.rules import HookMap, TowerKind
from mmparity.errors import MmparityError
from mmparity.workload.implementation import OMNI_UNSPLIT, Implementation

_OPERATORS = (
    "vllm.model_executor.layers.attention.mm_encoder_attention",
    "vllm.attention.layers.mm_encoder_attention",
)
"""Where releases from 0.13 on keep MMEncoderAttention, the newest first."""
_SPLITS_GIVEN = (0, 33)
"""The first release whose Omni splits given embeddings."""


def hook_map(subject: TowerKind) -> HookMap:
    """The name map of the nearest release that is known; what it lacks is listed."""
    if not any(map(_is_there, _OPERATORS)):
        return vllm_0_12.hook_map(subject)
    return (ascend_0_30 if subject.ascend else vllm_0_13).hook_map(subject)


def take_platform(device: str) -> str:
    """Lets vLLM find its platform, which must be the one of ``device``."""
    os.environ.pop("VLLM_PLUGINS", None)  # one of them is vllm-ascend
    if not _is_there("vllm"):
        raise MmparityError("this Python imports no vllm: give the one that runs it.")
    platform: Any = import_module("vllm.platforms").current_platform
    name = type(platform).__name__
    if platform.device_type != device:
        raise MmparityError(
            f"this vLLM runs on {platform.device_type or 'no device'} ({name}): "
            f"give --device {platform.device_type or 'with what it is built for'}."
        )
    return name


def as_found(implementation: Implementation, device: str) -> Implementation:
    """What only the imported vLLM says of an implementation: Ascend's, its release."""
    release: str = getattr(import_module("vllm"), "__version__", "")
    return replace(
        implementation, ascend=device == "npu", no_given=no_given_of(release)
    )


def no_given_of(release: str) -> dict[str, str]:
    """Family -> why a release takes no embeddings; an unknown one is held to it."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    old = numbers is not None and (int(numbers[1]), int(numbers[2])) < _SPLITS_GIVEN
    return OMNI_UNSPLIT if old else {}


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
