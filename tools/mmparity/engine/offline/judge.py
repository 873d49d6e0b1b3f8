# SPDX-License-Identifier: Apache-2.0
"""Two sides' outcomes of one scenario -> a row: the same, different, or not to be had.

A row passes only where both sides answered and everything that they made was
compared. An engine that refuses is "cannot run" only with the error that the scenario
declares; any other error is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmparity.engine.offline.outcomes import Answer, ScenarioResult
from mmparity.engine.offline.scenarios import Engine, Scenario
from mmparity.types.engine import EngineRow, EngineVerdict

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EnginePair:
    """Two sides, and how near their values must be.

    Attributes:
        logprob: greatest difference allowed of a logprob; 0 asks for equal bits.
        embedding: the same of an embedding's values, over its greatest one.
        why: why values may differ, where they may.
    """

    old: str
    new: str
    logprob: float
    embedding: float
    why: str = ""


LOGPROB, EMBEDDING = 1e-2, 4e-3
"""In float16, which has steps of 2**-8 at a logit of 4 and of 2**-11 at the greatest
value of an embedding. 6e-3 and 2e-3 were seen."""
PAIRS = (
    EnginePair("vllm-0.12.0", "unified", 0.0, 0.0),
    EnginePair(
        "ascend-0.11.0",
        "unified-ascend",
        LOGPROB,
        EMBEDDING,
        "another release's language model and kernels",
    ),
    EnginePair(
        "unified",
        "unified-ascend",
        LOGPROB,
        EMBEDDING,
        "attention and rotary are vllm-ascend's operators",
    ),
)


def judge(
    pair: EnginePair,
    scenario: Scenario,
    engine: Engine,
    outcomes: tuple[ScenarioResult | None, ScenarioResult | None],
    embeddings: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]],
    model: str,
) -> EngineRow:
    """The row; ``outcomes`` and ``embeddings`` are of the old and the new side."""
    names = (pair.old, pair.new)

    def row(verdict: EngineVerdict, reason: str) -> EngineRow:
        return EngineRow(model, scenario.name, *names, verdict, reason)

    refused = []
    for name, outcome in zip(names, outcomes, strict=True):
        if outcome is None:
            return row("error", f"{name}: its process ended before this scenario")
        if outcome.error:
            declared = {**engine.refusals, **scenario.refusals}
            pattern = declared.get(name, declared.get("*"))
            if not pattern or not re.search(pattern, outcome.error):
                return row("error", f"{name}: {outcome.error}")
            refused.append(f"{name}: {outcome.error}")
    if refused:
        return row("cannot run", "; ".join(refused))
    old, new = outcomes
    assert old is not None and new is not None
    comparison = EngineComparison(pair)
    comparison.answers(old, new)
    comparison.embeddings(old, new, *embeddings)
    for outcome in (old, new):
        comparison.repeats(outcome, scenario)
    return comparison.row(model, scenario.name)


class EngineComparison:
    """Collects what differs; nothing compared is a failure too."""

    def __init__(self, pair: EnginePair) -> None:
        self.pair = pair
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.tokens = self.logprobs = self.compared_embeddings = 0
        self.logprob_difference = self.embedding_difference = 0.0
        self.exact = True

    def answers(self, old: ScenarioResult, new: ScenarioResult) -> None:
        """Tokens and logprobs, batch by batch."""
        shapes = [[len(batch) for batch in side.answers] for side in (old, new)]
        if shapes[0] != shapes[1]:
            self.failures.append(f"answers: {shapes[0]} and {shapes[1]}")
            return
        for number, (a, b) in enumerate(_answers(old, new)):
            self._answer(f"answer {number}", a, b)

    def embeddings(
        self,
        old: ScenarioResult,
        new: ScenarioResult,
        old_made: Sequence[torch.Tensor],
        new_made: Sequence[torch.Tensor],
    ) -> None:
        """Embeddings, batch by batch; one side may have had a batch's cached."""
        for side in (old, new):
            if not side.ranks_agree:
                self.failures.append(f"{side.side}: ranks have other embeddings")
        made = (list(old_made), list(new_made))
        for number, counts in enumerate(zip(old.embedded, new.embedded, strict=False)):
            taken = [side[:count] for side, count in zip(made, counts, strict=True)]
            made = (made[0][counts[0] :], made[1][counts[1] :])
            if 0 in counts and counts != (0, 0):
                self.notes.append(f"batch {number}: {counts} embeddings, else cached")
            elif counts[0] != counts[1]:
                self.failures.append(f"batch {number}: {counts} embeddings")
            else:
                for a, b in zip(*taken, strict=True):
                    self._embedding(number, a, b)

    def repeats(self, outcome: ScenarioResult, scenario: Scenario) -> None:
        """A step that may not change anything did not, on one side."""
        if scenario.same is None:
            return
        first, again = (outcome.answers[step] for step in scenario.same)
        if [a.tokens for a in first] != [b.tokens for b in again]:
            self.failures.append(f"{outcome.side}: other answers after the step")

    def row(self, model: str, scenario: str) -> EngineRow:
        """The verdict over everything."""
        if not (self.tokens and self.logprobs and self.compared_embeddings):
            self.failures.append("nothing was compared")
        pair = self.pair
        if self.logprob_difference > pair.logprob:
            self.failures.append(
                f"a logprob differs by {self.logprob_difference:.2g} "
                f"({pair.logprob:.2g} allowed)"
            )
        if self.embedding_difference > pair.embedding:
            self.failures.append(
                f"an embedding differs by {self.embedding_difference:.2g} of its "
                f"greatest value ({pair.embedding:.2g} allowed)"
            )
        if not pair.logprob and not self.exact and not self.failures:
            self.failures.append("bits differ")
        return EngineRow(
            model,
            scenario,
            pair.old,
            pair.new,
            "fail" if self.failures else "pass",
            "; ".join(dict.fromkeys(self.failures)),
            self.exact,
            self.tokens,
            self.logprobs,
            self.compared_embeddings,
            self.logprob_difference,
            self.embedding_difference,
            tuple(self.notes),
        )

    def _answer(self, name: str, a: Answer, b: Answer) -> None:
        if a.prompt_tokens != b.prompt_tokens:
            self.failures.append(
                f"{name}: prompts of {a.prompt_tokens} and {b.prompt_tokens} tokens"
            )
            return
        if len(a.tokens) != len(b.tokens) or not a.tokens:
            self.failures.append(
                f"{name}: {len(a.tokens)} and {len(b.tokens)} tokens generated"
            )
            return
        for position, (left, right) in enumerate(
            zip(a.logprobs, b.logprobs, strict=True)
        ):
            self._position(left, right)
            chosen = (a.tokens[position], b.tokens[position])
            if chosen[0] != chosen[1]:
                self._divergence(f"{name}, token {position}", chosen, (left, right))
                return  # what follows has another context
            self.tokens += 1

    def _position(self, a: dict[int, float], b: dict[int, float]) -> None:
        """One position's likeliest tokens, by token."""
        for token in a.keys() | b.keys():
            if token in a and token in b:
                difference = abs(a[token] - b[token])
            else:  # the other side's is below all that it has
                mine, other = (a, b) if token in a else (b, a)
                difference = max(mine[token] - min(other.values()), 0.0)
            if difference != difference:
                difference = float("inf")
            self.logprob_difference = max(self.logprob_difference, difference)
            self.logprobs += 1
        self.exact &= a == b

    def _divergence(
        self,
        where: str,
        chosen: tuple[int, int],
        logprobs: tuple[dict[int, float], dict[int, float]],
    ) -> None:
        """Other tokens: a near tie where both sides hardly prefer their own."""
        self.exact = False
        gaps = [
            side[mine] - side.get(other, float("-inf"))
            for side, mine, other in zip(
                logprobs, chosen, reversed(chosen), strict=True
            )
        ]
        text = f"{where}: {chosen[0]} and {chosen[1]}, logprob gaps "
        text += " and ".join(f"{gap:.2g}" for gap in gaps)
        if max(gaps) <= 2 * self.pair.logprob:
            self.notes.append(f"near tie at {text}; the rest of it is not compared")
        else:
            self.failures.append(text)

    def _embedding(self, batch: int, a: torch.Tensor, b: torch.Tensor) -> None:
        import torch

        self.compared_embeddings += 1
        if a.shape != b.shape or a.dtype != b.dtype or not a.numel():
            self.failures.append(
                f"batch {batch}: embeddings {list(a.shape)} {a.dtype} and "
                f"{list(b.shape)} {b.dtype}"
            )
            return
        difference = float((a.double() - b.double()).abs().max())
        difference /= float(a.double().abs().max()) or 1.0
        if difference != difference:
            difference = float("inf")
        self.embedding_difference = max(self.embedding_difference, difference)
        self.exact &= torch.equal(a, b)


def _answers(
    old: ScenarioResult, new: ScenarioResult
) -> Iterator[tuple[Answer, Answer]]:
    for left, right in zip(old.answers, new.answers, strict=True):
        yield from zip(left, right, strict=True)
