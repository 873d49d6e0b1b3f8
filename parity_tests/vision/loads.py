# SPDX-License-Identifier: Apache-2.0
"""What a tower holds of a checkpoint whose q, k and v are fused, and of them apart.

``main([IMPLEMENTATION, TREES, CHECKPOINT...])`` prints one line of JSON: for each
checkpoint the parameters that differ, and how many parts and parameters there were.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mmparity.encoders import ALONE, vllm_runtime
from mmparity.workload.checkpoint import vision_weights
from mmparity.workload.implementations import get
from mmparity.workload.tower_config import read_vision_config

Weights = list[tuple[str, torch.Tensor]]


def apart(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The same with q, k and v on their own, v first."""
    for name, tensor in weights:
        if ".attn.qkv." not in name:
            yield name, tensor
            continue
        parts = zip("qkv", tensor.chunk(3), strict=True)
        for letter, part in reversed(list(parts)):
            yield name.replace(".qkv.", f".{letter}."), part.contiguous()


def compared(
    runtime: vllm_runtime.VllmRuntime, checkpoint: Path
) -> tuple[list[str], int, int]:
    """What differs of the two towers."""
    config = read_vision_config(checkpoint)
    fused: Weights = list(vision_weights(checkpoint, config))
    split = list(apart(fused))
    towers = [
        {
            name: parameter.clone()
            for name, parameter in runtime.build(config, torch.float32, weights)
            .model.named_parameters()
        }
        for weights in (fused, split)
    ]  # fmt: skip
    assert towers[0].keys() == towers[1].keys()
    different = [n for n, t in towers[0].items() if not torch.equal(t, towers[1][n])]
    names = {name for name, _ in split} - {name for name, _ in fused}
    return different, len(names), len(towers[0])


def main(arguments: Sequence[str]) -> int:
    implementation, trees, *checkpoints = arguments
    runtime = vllm_runtime.start(get(implementation), json.loads(trees), "cpu", ALONE)
    found = [compared(runtime, Path(checkpoint)) for checkpoint in checkpoints]
    runtime.close()
    sys.stdout.write(json.dumps(found) + "\n")
    return 0
