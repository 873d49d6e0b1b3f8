# SPDX-License-Identifier: Apache-2.0
"""Outcomes and figures of engines, as workers write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mmparity.engine.offline.outcomes import Answer, ScenarioResult

LOGPROBS = ({5: -0.5, 6: -1.0, 7: -2.0}, {6: -0.25, 5: -1.5, 8: -3.0})


class Made:
    """Builds outcomes that agree unless something is planted."""

    def outcome(self, side: str, **planted: Any) -> ScenarioResult:
        answer = Answer(40, (5, 6), LOGPROBS)
        outcome = ScenarioResult(
            side, "qwen2.5-vl", "one image", answers=((answer,),), embedded=(1,)
        )
        return replace(outcome, **planted)

    def answered(self, side: str, **planted: Any) -> ScenarioResult:
        answer = replace(Answer(40, (5, 6), LOGPROBS), **planted)
        return self.outcome(side, answers=((answer,),))

    def embedding(self) -> torch.Tensor:
        return torch.linspace(-2.0, 2.0, 24).view(6, 4)


@pytest.fixture
def made() -> Made:
    return Made()
