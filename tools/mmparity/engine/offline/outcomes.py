# SPDX-License-Identifier: Apache-2.0
"""What one side made of one scenario: a JSON file, and its embeddings beside it.

Nothing here imports vLLM; torch only where embeddings are read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.files import write_text, writing
from mmparity.stored_json import read_json, to_json, validated

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Answer:
    """One request's answer.

    Attributes:
        prompt_tokens: with the media's placeholders.
        tokens: that were generated.
        logprobs: for each of them, token -> logprob of the most likely ones.
    """

    prompt_tokens: int
    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]


@dataclass(frozen=True)
class ScenarioResult:
    """One side, one model, one scenario.

    Attributes:
        error: why it did not run, in the engine's own words; else empty.
        runs: platform, model, tower and operator that the worker found.
        answers: for each batch of the scenario, in order.
        embedded: how many embeddings each of them had made.
        ranks_agree: every rank has the same embeddings.
    """

    side: str
    model: str
    scenario: str
    error: str = ""
    runs: str = ""
    answers: tuple[tuple[Answer, ...], ...] = ()
    embedded: tuple[int, ...] = ()
    ranks_agree: bool = True
    seconds: float = 0.0


def place(folder: Path, side: str, model: str, scenario: str) -> Path:
    """The JSON file of an outcome; its embeddings are beside it."""
    return folder / side / model / f"{scenario.replace(' ', '-')}.json"


def write(
    outcome: ScenarioResult, embeddings: Sequence[torch.Tensor], folder: Path
) -> None:
    """Writes both files, the JSON file last: it is there only if all of it is."""
    from safetensors.torch import save_file

    file = place(folder, outcome.side, outcome.model, outcome.scenario)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if embeddings:
            tensors = {f"{i:04}": x.contiguous() for i, x in enumerate(embeddings)}
            save_file(tensors, file.with_suffix(".safetensors"))
    write_text(file, to_json(outcome))


def read(folder: Path, side: str, model: str, scenario: str) -> ScenarioResult | None:
    """The outcome, or None where the side did not come so far."""
    file = place(folder, side, model, scenario)
    if not file.is_file():
        return None
    return validated(ScenarioResult, read_json(file), file)


def read_embeddings(outcome: ScenarioResult, folder: Path) -> list[torch.Tensor]:
    """The embeddings, in the order in which they were made."""
    from safetensors.torch import load_file

    file = place(folder, outcome.side, outcome.model, outcome.scenario)
    file = file.with_suffix(".safetensors")
    tensors = load_file(file) if file.is_file() else {}
    return [tensors[name] for name in sorted(tensors)]
