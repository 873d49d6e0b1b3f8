# SPDX-License-Identifier: Apache-2.0
"""What the model around a tower returns, as rows of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmparity.capture.model_results import NONE, recording_results
from mmparity.encoders import Encoder
from mmparity.encoders.rules import HookMap
from mmparity.trace import hook_points

GRID = torch.tensor([[1, 2, 4], [1, 2, 2]])
FOUND = (torch.ones(2, 3), torch.zeros(1, 3))


class Sink:
    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.notes: dict[str, tuple[str, bool]] = {}

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
    ) -> None:
        assert (path, transforms) == ("(model)", ())
        self.tensors[hook_point] = tensor

    def unmatched(self, path: str, reason: str, explained: bool) -> None:
        self.notes[path] = reason, explained


def recorded(found: Any, given: Any = None, no_given: str = "") -> Sink:
    sink = Sink()
    names = HookMap({}, no_given=no_given)
    encoder = Encoder(nn.Identity(), names, lambda *_: found, {}, given)
    result = recording_results(encoder, sink).forward(torch.ones(1), GRID)
    assert result is found
    return sink


def test_each_item_is_a_row_for_pixels_and_for_given_embeddings() -> None:
    sink = recorded(FOUND, lambda embeddings, grid: embeddings.split([2, 1]))
    assert list(sink.tensors) == ["result.0", "result.1", "given.0", "given.1"]
    assert torch.equal(sink.tensors["result.0"], FOUND[0])
    assert sink.tensors["given.1"].shape == (1, 3)
    assert sink.notes == {}
    assert all(hook_points.is_of_model(name) for name in sink.tensors)


def test_given_embeddings_are_the_same_each_time() -> None:
    first, second = (
        recorded(FOUND, lambda embeddings, grid: [embeddings]) for _ in range(2)
    )
    assert torch.equal(first.tensors["given.0"], second.tensors["given.0"])
    assert first.tensors["given.0"].std() > 0.5


def test_another_number_of_results_is_undeclared() -> None:
    sink = recorded(FOUND[:1], lambda embeddings, grid: [embeddings] * 3)
    assert sink.notes == {
        "result": ("the model gives 1 results for 2 images or clips", False),
        "given": ("the model gives 3 results for 2 images or clips", False),
    }


def test_an_encoder_without_a_model_says_so() -> None:
    sink = recorded(None)
    assert sink.notes == {"result.{i}": (NONE, True), "given.{i}": (NONE, True)}
    assert sink.tensors == {}


def test_a_model_that_takes_no_embeddings_says_why() -> None:
    sink = recorded(FOUND, lambda embeddings, grid: [], no_given="not split")
    assert list(sink.tensors) == ["result.0", "result.1"]
    assert sink.notes == {"given.{i}": ("not split", True)}
