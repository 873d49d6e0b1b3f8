# SPDX-License-Identifier: Apache-2.0
"""What the seeded weights make of a photograph, in the encoder at its real size.

The figures that they are held to are those of trained towers: docs/seeded-weights.md.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mmparity.workload import spectra
from mmparity.workload.cases import CASES
from mmparity.workload.checkpoint import tower_class
from mmparity.workload.inputs import Geometry, read_inputs, write_inputs
from mmparity.workload.seeded import vision_config

FLOAT16_LIMIT = 65504.0


class Seen:
    """Attention and residual stream, block by block, in float32."""

    def __init__(self) -> None:
        self.logits: dict[Any, float] = {}
        self.entropies: dict[Any, list[tuple[int, float]]] = {}
        self.streams: list[torch.Tensor] = []

    def attention(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **how: Any
    ) -> tuple[torch.Tensor, None]:
        logits = q @ k.mT * how["scaling"]
        shares = logits.softmax(-1)
        length = q.shape[2]
        entropy = torch.special.entr(shares).sum(-1).mean() / math.log(length)
        largest = max(self.logits.get(module, 0.0), float(logits.abs().max()))
        self.logits[module] = largest
        self.entropies.setdefault(module, []).append((length, float(entropy)))
        return (shares @ v).transpose(1, 2), None

    def block(self, module: Any, args: Any, output: torch.Tensor) -> None:
        self.streams.append(output)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The default model's tower over one photograph."""
    found = Seen()
    ALL_ATTENTION_FUNCTIONS.register("seen", found.attention)
    config = vision_config("qwen2.5-vl-7b")
    config._attn_implementation = "seen"
    with torch.device("meta"):
        tower = tower_class(config)(config)
    given = spectra.Tower.of(config)
    state = {
        name: spectra.values(name, tuple(parameter.shape), given).float()
        for name, parameter in tower.named_parameters()
    }
    tower.load_state_dict(state, assign=True)
    tower.rotary_pos_emb = type(tower.rotary_pos_emb)(40)
    for block in tower.blocks:
        block.register_forward_hook(found.block)
    folder: Path = tmp_path_factory.mktemp("pixels")
    inputs = read_inputs(write_inputs(CASES["ragged"], folder, Geometry.of(config)))
    with torch.inference_mode():
        tower(inputs.pixel_values, torch.tensor(inputs.grid_thw))
    return found


def test_attention_is_as_sharp_as_trained_attention(seen: Seen) -> None:
    means = [
        sum(n * entropy for n, entropy in of_block) / sum(n for n, _ in of_block)
        for of_block in seen.entropies.values()
    ]
    assert len(means) == 32
    assert sum(mean <= 0.8 for mean in means) >= 28, means
    assert min(means) > 0.4, "it attends to more than one token"


def test_logits_are_as_large(seen: Seen) -> None:
    assert max(seen.logits.values()) >= 50.0
    assert min(seen.logits.values()) >= 20.0


def test_few_channels_hold_the_residual_stream(seen: Seen) -> None:
    for stream in seen.streams:
        wide = stream.double()
        assert (wide**4).mean() / (wide**2).mean() ** 2 >= 30.0


def test_stream_grows_until_near_the_limit_of_float16(seen: Seen) -> None:
    sizes = [float(stream.abs().max()) for stream in seen.streams]
    assert sizes[0] < FLOAT16_LIMIT / 256
    assert FLOAT16_LIMIT / 4 < max(sizes[-4:]) < FLOAT16_LIMIT
