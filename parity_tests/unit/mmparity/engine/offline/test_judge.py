# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mmparity.engine.offline.judge import EnginePair, judge
from mmparity.engine.offline.outcomes import ScenarioResult
from mmparity.engine.offline.scenarios import ENGINES, SCENARIOS, Generate, Scenario
from mmparity.types.engine import EngineRow

EXACT = EnginePair("vllm-0.12.0", "unified", 0.0, 0.0)
NEAR = EnginePair("ascend-0.11.0", "unified-ascend", 1e-3, 1e-5)
ONE = SCENARIOS["one image"]
TWICE = replace(ONE, steps=(*ONE.steps, *ONE.steps), same=(0, 1))


def row(
    old: ScenarioResult | None,
    new: ScenarioResult | None,
    embeddings: Any,
    pair: EnginePair = EXACT,
    scenario: Scenario = ONE,
    engine: str = "plain",
) -> EngineRow:
    return judge(pair, scenario, ENGINES[engine], (old, new), embeddings, "qwen2.5-vl")


def both(made: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [made.embedding()], [made.embedding()]


def test_equal_bits_pass_and_everything_is_counted(made: Any) -> None:
    found = row(made.outcome("old"), made.outcome("new"), both(made))
    assert (found.verdict, found.exact, found.reason) == ("pass", True, "")
    assert (found.tokens, found.logprobs, found.embeddings) == (2, 6, 1)


def test_one_bit_of_a_logprob_fails_where_bits_must_be_equal(made: Any) -> None:
    other = ({5: -0.5, 6: -1.0, 7: -2.0000002}, {6: -0.25, 5: -1.5, 8: -3.0})
    outcomes = (made.answered("old"), made.answered("new", logprobs=other))
    found = row(*outcomes, both(made))
    assert found.verdict == "fail" and not found.exact
    assert row(*outcomes, both(made), pair=NEAR).verdict == "pass"


def test_a_changed_element_of_an_embedding_fails(made: Any) -> None:
    old, new = both(made)
    new[0][3, 2] += 0.02
    found = row(made.outcome("old"), made.outcome("new"), (old, new), pair=NEAR)
    assert found.verdict == "fail"
    assert found.embedding_difference == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_never_passes(made: Any, value: float) -> None:
    old, new = both(made)
    old[0][0, 0] = new[0][0, 0] = value
    found = row(made.outcome("old"), made.outcome("new"), (old, new), pair=NEAR)
    assert found.verdict == "fail"
    logprobs = ({5: value}, {6: -0.25})
    answers = [made.answered(side, logprobs=logprobs) for side in ("old", "new")]
    assert row(*answers, both(made), pair=NEAR).verdict == "fail"


def test_other_tokens_fail_and_the_place_is_named(made: Any) -> None:
    old, new = made.answered("old"), made.answered("new", tokens=(5, 5))
    found = row(old, new, both(made), pair=NEAR)
    assert found.verdict == "fail"
    assert "answer 0, token 1: 6 and 5, logprob gaps 1.2 and -1.2" in found.reason


def test_a_near_tie_is_said_and_ends_the_comparison_of_that_answer(made: Any) -> None:
    tied = ({5: -1.0, 6: -1.0004}, {6: -0.25, 5: -1.5})
    turned = ({6: -1.0, 5: -1.0004}, {9: -0.25, 5: -7.5})
    old = made.answered("old", logprobs=tied)
    new = made.answered("new", tokens=(6, 9), logprobs=turned)
    found = row(old, new, both(made), pair=replace(NEAR, logprob=1e-3))
    assert found.reason == "nothing was compared", "no token at all is no pass"
    longer = [
        replace(
            side,
            answers=((made.answered("x").answers[0][0], side.answers[0][0]),),
        )
        for side in (old, new)
    ]
    found = row(*longer, both(made), pair=NEAR)
    assert found.verdict == "pass" and not found.exact
    assert "near tie at answer 1, token 0" in found.notes[0]
    assert row(*longer, both(made), pair=EXACT).verdict == "fail"


def test_a_token_that_only_one_side_lists_counts_from_the_others_last(
    made: Any,
) -> None:
    other = ({5: -0.5, 6: -1.0, 9: -1.2}, {6: -0.25, 5: -1.5, 8: -3.0})
    found = row(made.answered("old"), made.answered("new", logprobs=other), both(made))
    assert found.logprob_difference == pytest.approx(0.8)


def test_other_prompts_are_not_compared(made: Any) -> None:
    old, new = made.answered("old"), made.answered("new", prompt_tokens=41)
    assert "prompts of 40 and 41 tokens" in row(old, new, both(made)).reason


def test_a_lost_embedding_fails_and_a_cached_batch_is_said(made: Any) -> None:
    old, new = made.outcome("old", embedded=(2,)), made.outcome("new")
    two = [made.embedding(), made.embedding()]
    assert "(2, 1) embeddings" in row(old, new, (two, two[:1])).reason
    batch = made.outcome("old").answers[0]
    old = made.outcome("old", answers=(batch, batch), embedded=(1, 0))
    new = made.outcome("new", answers=(batch, batch), embedded=(1, 1))
    found = row(old, new, (two[:1], two), scenario=TWICE)
    assert found.verdict == "pass"
    assert found.notes == ("batch 1: (0, 1) embeddings, else cached",)


def test_answers_that_change_over_a_step_that_may_not_change_them_fail(
    made: Any,
) -> None:
    first = made.outcome("x").answers[0]
    again = made.answered("x", tokens=(6, 6)).answers[0]
    sides = [
        made.outcome(side, answers=(first, again), embedded=(1, 0))
        for side in ("old", "new")
    ]
    found = row(*sides, both(made), scenario=TWICE)
    assert "old: other answers after the step" in found.reason


def test_ranks_with_other_embeddings_fail(made: Any) -> None:
    found = row(made.outcome("old"), made.outcome("new", ranks_agree=False), both(made))
    assert found.reason == "new: ranks have other embeddings"


def test_a_refusal_that_is_declared_is_told_and_any_other_is_an_error(
    made: Any,
) -> None:
    words = "ValueError: Sleep mode is not supported on current platform."
    refused = made.outcome("vllm-0.12.0", error=words)
    answered = made.outcome("unified")
    found = row(refused, answered, ([], []), engine="sleep")
    assert found.verdict == "cannot run"
    assert found.reason == f"vllm-0.12.0: {words}"
    assert row(refused, answered, ([], [])).verdict == "error"
    other = made.outcome("unified", error="RuntimeError: out of memory")
    assert row(refused, other, ([], []), engine="sleep").verdict == "error"


def test_a_refusal_of_one_side_is_not_one_of_another(made: Any) -> None:
    scenario = SCENARIOS["second load of weights"]
    words = "RuntimeError: start (0) + length (512) exceeds dimension size (320)."
    old = made.outcome("ascend-0.11.0", error=words)
    new = made.outcome("unified-ascend")
    found = row(old, new, ([], []), pair=NEAR, scenario=scenario)
    assert found.verdict == "cannot run"
    refused = made.outcome("unified-ascend", error=words)
    found = row(old, refused, ([], []), pair=NEAR, scenario=scenario)
    assert found.verdict == "error" and found.reason.startswith("unified-ascend")


def test_a_side_that_never_came_so_far_is_an_error(made: Any) -> None:
    assert row(None, made.outcome("unified"), ([], [])).verdict == "error"


def test_every_scenario_has_an_engine_and_media_to_embed() -> None:
    for scenario in SCENARIOS.values():
        assert scenario.engine in ENGINES
        batches = [step for step in scenario.steps if isinstance(step, Generate)]
        assert any(request.media for batch in batches for request in batch.requests)
