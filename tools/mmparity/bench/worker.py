# SPDX-License-Identifier: Apache-2.0
"""One encoder that waits for work: a request a line in, a JSON answer a line out.

``python -m mmparity.bench.worker SETTINGS.json``. Its real standard output
carries answers only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mmparity import checkpoint, encoders
from mmparity.implementations import get
from mmparity.worker import DTYPES

PATCH_VALUES = 3 * 2 * 14 * 14


def serve(settings: dict[str, Any], answers: Any) -> None:
    """Builds the encoder and answers until standard input ends."""
    torch.set_num_threads(settings["threads"])
    implementation = get(settings["implementation"])
    runtime = encoders.start(implementation, settings["trees"], "cpu")
    path = Path(settings["checkpoint"])
    config = checkpoint.read_vision_config(path)
    started = time.perf_counter()
    dtype = DTYPES[settings["dtype"]]
    encoder = runtime.build(config, dtype, checkpoint.vision_weights(path, config))
    ready = {"load_seconds": time.perf_counter() - started}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        grid = torch.tensor(request["grid"])
        patches = int(grid.prod(dim=1).sum())
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randn(patches, PATCH_VALUES, generator=generator).to(dtype)
        answer = _answer(request["ask"], encoder, pixels, grid)
        print(json.dumps(answer), file=answers, flush=True)


def _answer(
    ask: str, encoder: encoders.Encoder, pixels: torch.Tensor, grid: torch.Tensor
) -> dict[str, Any]:
    with torch.inference_mode():
        if ask == "count":
            # Also sees the operators that a custom operator calls.
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                encoder.forward(pixels, grid)
            events = seen.key_averages()
            return {"calls": {e.key: e.count for e in events if "::" in e.key}}
        started = time.perf_counter()
        encoder.forward(pixels, grid)
        return {"seconds": time.perf_counter() - started}


def main() -> None:
    """Serves the settings file that is the only argument."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(json.loads(Path(sys.argv[1]).read_text()), answers)


if __name__ == "__main__":
    main()
