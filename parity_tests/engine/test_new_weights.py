# SPDX-License-Identifier: Apache-2.0
"""A real engine's encoder cache when weights change, at rest and in a prefill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

CHUNKED = {"max_num_batched_tokens": 48, "enable_chunked_prefill": True}
"""The image has 96 tokens."""


@pytest.fixture(scope="module")
def steps(ask_engine: Callable[..., Any]) -> Any:
    """Scheduled step by step: vLLM 0.12.0's other way asks for a stream of CUDA."""
    return ask_engine("new_weights.py", "unified", ["qwen2.5-vl"], CHUNKED)


def test_outputs_are_kept_while_the_weights_are(steps: Any) -> None:
    assert steps["first"]["encoded"] == 1 and steps["again"]["encoded"] == 0
    assert steps["again"]["logprobs"] == steps["first"]["logprobs"]


@pytest.mark.parametrize("how", ["trained", "trained in process"])
def test_a_known_image_is_answered_with_new_weights(steps: Any, how: str) -> None:
    assert steps[how]["encoded"] == 1
    assert steps[how]["logprobs"] != steps["first"]["logprobs"]
    assert steps[how]["logprobs"] == steps["trained"]["logprobs"]
    assert steps["trained back"]["logprobs"] == steps["first"]["logprobs"]


@pytest.mark.parametrize("what", ["rpc in the middle", "reset in the middle"])
def test_a_request_in_the_middle_of_an_image_goes_on(steps: Any, what: str) -> None:
    before = {"rpc in the middle": 0, "reset in the middle": 1}
    assert steps[what]["encoded"] == before[what] + 1
    assert steps[what]["logprobs"] == steps["first"]["logprobs"]
