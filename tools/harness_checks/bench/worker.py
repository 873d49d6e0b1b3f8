# SPDX-License-Identifier: Apache-2.0
"""One encoder that waits for work: a request a line in, a JSON answer a line out.

``python -m harness_checks.bench.worker SETTINGS.json``. Its real standard output
carries answers only.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness_checks.bench import measure
from harness_checks.bench.clock import Clock
from harness_checks.bench.costs import ForwardCounts, Growth, WorkerSettings
from mmparity import encoders
from mmparity.capture.worker import DTYPES
from mmparity.processes import answering
from mmparity.stored_json import plain
from mmparity.workload import checkpoint
from mmparity.workload.implementations import get

PATCH_VALUES = 3 * 2 * 14 * 14


class Worker:
    """Answers about one encoder; each method is a request."""

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(settings.threads)
        implementation = get(settings.implementation)
        self.device = settings.device
        self.clock = Clock.of(self.device)
        self.runtime = encoders.start(implementation, settings.trees, self.device)
        self.path = Path(settings.checkpoint)
        self.config = checkpoint.read_vision_config(self.path)
        self.dtype = DTYPES[settings.dtype]
        self.encoder: encoders.Encoder | None = None

    def load(self) -> dict[str, float]:
        """Builds the encoder anew: seconds, and bytes above those held before."""
        self.encoder = None
        held = _Held(self.clock.runtime)
        seconds = self.clock.seconds(self._build)
        self.attention = measure.BetweenProjections(self._model(), self.clock)
        return {"seconds": seconds, "bytes": held.most()}

    def time(self, grid: list[list[int]]) -> dict[str, float]:
        """Seconds of one forward, and those of its attention beside linear layers."""
        forward = self._forward(grid)
        self.attention.restart()
        seconds = self.clock.seconds(forward)
        return {"seconds": seconds, "attention": self.attention.seconds}

    def gemms(self, grid: list[list[int]]) -> dict[str, float]:
        """Seconds of the forward's matrix products alone, with the same weights."""
        products = measure.matrix_products(self._model(), self._forward(grid))
        return {"seconds": self.clock.seconds(products)}

    def count(self, grid: list[list[int]]) -> ForwardCounts:
        """What one forward calls, by block where that is asked, and its peak."""
        return measure.count(self._model(), self._forward(grid))

    def growth(self, sizes: int, forwards: int) -> Growth:
        """What stays after many image sizes, and after many forwards."""
        return measure.growth(self._model(), self._forward, sizes, forwards)

    def _build(self) -> None:
        weights = checkpoint.vision_weights(self.path, self.config)
        self.encoder = self.runtime.build(self.config, self.dtype, weights)

    def _model(self) -> torch.nn.Module:
        assert self.encoder is not None, "load comes first"
        return self.encoder.model

    def _forward(self, grid: list[list[int]]) -> Callable[[], None]:
        encoder = self.encoder
        assert encoder is not None, "load comes first"
        grid_thw = torch.tensor(grid)
        generator = torch.Generator().manual_seed(0)
        shape = (int(grid_thw.prod(dim=1).sum()), PATCH_VALUES)
        pixels = torch.randn(shape, generator=generator).to(self.device, self.dtype)

        def forward() -> None:
            with torch.inference_mode():
                encoder.forward(pixels, grid_thw)

        return forward


class _Held:
    """Memory held above what is held when it is made, in bytes.

    On a device that of its tensors, else that of the process.
    """

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        if runtime is None:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.before = pages * resource.getpagesize()
        else:
            runtime.reset_peak_memory_stats()
            self.before = runtime.memory_allocated()

    def most(self) -> int:
        """The most so far."""
        if self.runtime is None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        else:
            peak = self.runtime.max_memory_allocated()
        return int(peak - self.before)


def main() -> None:
    """Serves the settings file that is the only argument."""
    with answering() as answers:
        worker = Worker(WorkerSettings(**json.loads(Path(sys.argv[1]).read_text())))
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(worker, request.pop("ask"))(**request)
            answers.write(json.dumps(plain(answer)) + "\n")


if __name__ == "__main__":
    main()
