# SPDX-License-Identifier: Apache-2.0
"""Limits of 0: the tower is not built, and text is answered as with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("model", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"])
def test_nothing_is_built_where_no_media_may_come(
    ask_engine: Callable[..., Any], model: str
) -> None:
    """vllm-ascend 0.11.0's classes build the tower whatever the limits are."""
    limits = [{"image": number, "video": 0} for number in (0, 1)]
    without, images = ask_engine("no_media.py", "unified-ascend", model, *limits)
    assert (without["tower"], without["weights"]) == (False, 0)
    assert images["tower"] and images["weights"] > 40
    assert without["tokens"] == images["tokens"] and len(without["tokens"]) == 12
