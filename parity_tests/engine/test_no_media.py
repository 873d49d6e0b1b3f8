# SPDX-License-Identifier: Apache-2.0
"""Limits of 0: the tower is not built, and text is answered as with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

MODELS = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl")
LIMITS = [{"image": number, "video": 0} for number in (0, 1)]


@pytest.fixture(scope="module")
def engines(ask_engine: Callable[..., Any]) -> dict[str, Any]:
    """Of each model what an engine without media is, and one with images.

    vllm-ascend 0.11.0's classes build the tower whatever the limits are.
    """
    made = ask_engine("no_media.py", "unified-ascend", MODELS, *LIMITS)
    return dict(zip(MODELS, made, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_built_where_no_media_may_come(
    engines: dict[str, Any], model: str
) -> None:
    without, images = engines[model]
    assert (without["tower"], without["weights"]) == (False, 0)
    assert images["tower"] and images["weights"] > 40
    assert without["tokens"] == images["tokens"] and len(without["tokens"]) == 12
