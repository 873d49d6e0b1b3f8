# SPDX-License-Identifier: Apache-2.0
"""Hook points of transformers' encoders since 5.0, whose towers give a pooler's output.

What comes before the blocks is computed by functions of their own, which have no place
for Qwen3-VL's resized positions.
"""

from __future__ import annotations

from mmparity.encoders import hf
from mmparity.encoders.rules import HookMap, Modules, OperatorTap, Tap, TowerKind
from mmparity.workload.models import FAMILIES


def hook_map(subject: TowerKind) -> HookMap:
    """The name map of Qwen2-VL's and Qwen2.5-VL's towers."""
    modeling = FAMILIES[subject.family].modeling
    modules: Modules = {
        **hf.MODULES[subject.architecture],
        "": (Tap("last_hidden_state", "output.pooler_output"),),
    }
    windows = OperatorTap(
        target=f"transformers.models.{modeling}:get_vision_window_index",
        inside="",
        parameters=("grid_thw",),
        taps=(Tap("window_index", "output.0"),),
    )
    before = (windows,) if subject.architecture == "qwen2_5_vl" else ()
    return subject.hook_map(modules, *before, hf.attention(modeling))
