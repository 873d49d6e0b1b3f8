# SPDX-License-Identifier: Apache-2.0
"""What the model around a tower returns, recorded for each image or clip.

Once for pixels and once for embeddings that a user gives in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from mmparity.encoders import Encoder
from mmparity.trace.hook_points import GIVEN, RESULT
from mmparity.trace.sink import Sink

PATH = "(model)"
NONE = "there is no model around this encoder"


def recording_results(encoder: Encoder, sink: Sink) -> Encoder:
    """The encoder; its forward also records the model's results."""

    def forward(pixel_values: torch.Tensor, grid_thw: torch.Tensor) -> Any:
        found = encoder.forward(pixel_values, grid_thw)
        if found is None:
            for name in (RESULT, GIVEN):
                sink.unmatched(f"{name}.{{i}}", NONE, explained=True)
            return None
        _add(sink, RESULT, found, len(grid_thw))
        if encoder.hook_map.no_given:
            reason = encoder.hook_map.no_given
            sink.unmatched(f"{GIVEN}.{{i}}", reason, explained=True)
        elif encoder.given is not None and len(found):
            embeddings = _embeddings_like(found)
            _add(sink, GIVEN, encoder.given(embeddings, grid_thw), len(grid_thw))
        return found

    return replace(encoder, forward=forward)


def _embeddings_like(found: Sequence[torch.Tensor]) -> torch.Tensor:
    """Seeded embeddings for all items; their last bits are those of the dtype."""
    shape = sum(len(item) for item in found), found[0].shape[-1]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noise.to(found[0])


def _add(sink: Sink, name: str, found: Sequence[Any], items: int) -> None:
    """One tensor for each item; another number of them is noted."""
    if len(found) != items:
        reason = f"the model gives {len(found)} results for {items} images or clips"
        sink.unmatched(name, reason, explained=False)
    for number, item in enumerate(found):
        sink.add(f"{name}.{number}", item, PATH)
