# SPDX-License-Identifier: Apache-2.0
"""One encoder that waits for work: a request a line in, a JSON answer a line out.

``python -m harness_checks.bench.worker SETTINGS.json``. Its real standard output
carries answers only.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness_checks.bench import measure
from mmparity import encoders
from mmparity.capture.worker import DTYPES
from mmparity.workload import checkpoint
from mmparity.workload.implementations import get

PATCH_VALUES = 3 * 2 * 14 * 14


class Worker:
    """Answers about one encoder; each method is a request."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        implementation = get(settings["implementation"])
        self.runtime = encoders.start(implementation, settings["trees"], "cpu")
        self.path = Path(settings["checkpoint"])
        self.config = checkpoint.read_vision_config(self.path)
        self.dtype = DTYPES[settings["dtype"]]
        self.encoder: encoders.Encoder | None = None

    def load(self) -> dict[str, Any]:
        """Builds the encoder anew: seconds, and bytes above those held before."""
        self.encoder = None
        before = _resident()
        started = time.perf_counter()
        weights = checkpoint.vision_weights(self.path, self.config)
        self.encoder = self.runtime.build(self.config, self.dtype, weights)
        seconds = time.perf_counter() - started
        self.attention = measure.BetweenProjections(self.encoder.model)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": seconds, "bytes": peak - before}

    def time(self, grid: list[list[int]]) -> dict[str, Any]:
        """Seconds of one forward, and those of its attention beside linear layers."""
        forward = self._forward(grid)
        self.attention.restart()
        seconds = _seconds(forward)
        return {"seconds": seconds, "attention": self.attention.seconds}

    def gemms(self, grid: list[list[int]]) -> dict[str, Any]:
        """Seconds of the forward's matrix products alone, with the same weights."""
        products = measure.matrix_products(self._model(), self._forward(grid))
        return {"seconds": _seconds(products)}

    def count(self, grid: list[list[int]]) -> dict[str, Any]:
        """What one forward calls, by block where that is asked, and its peak."""
        return measure.count(self._model(), self._forward(grid))

    def growth(self, sizes: int, forwards: int) -> dict[str, Any]:
        """What stays after many image sizes, and after many forwards."""
        return measure.growth(self._model(), self._forward, sizes, forwards)

    def _model(self) -> torch.nn.Module:
        assert self.encoder is not None, "load comes first"
        return self.encoder.model

    def _forward(self, grid: list[list[int]]) -> Callable[[], None]:
        encoder = self.encoder
        assert encoder is not None, "load comes first"
        grid_thw = torch.tensor(grid)
        generator = torch.Generator().manual_seed(0)
        shape = (int(grid_thw.prod(dim=1).sum()), PATCH_VALUES)
        pixels = torch.randn(shape, generator=generator).to(self.dtype)

        def forward() -> None:
            with torch.inference_mode():
                encoder.forward(pixels, grid_thw)

        return forward


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    """Serves the settings file that is the only argument."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(json.loads(Path(sys.argv[1]).read_text()))
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("ask"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
