# SPDX-License-Identifier: Apache-2.0
"""What an engine keeps: bytes behind the encoder cache, and memory over requests.

Runs in a side's process, with sizes and pixels from one seed on every side. Without
the processor's cache, which grows by design until it is full.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmparity.engine.offline.job import EngineJob
from mmparity.engine.offline.memory import write
from mmparity.engine.offline.probe import ask
from mmparity.engine.offline.scenarios import Image, Request
from mmparity.types.engine import EngineFigures, EnginePoint

OPTIONS = {
    "dtype": "float32",
    "mm_processor_cache_gb": 0,
    "max_num_batched_tokens": 4096,
}
"""In float16 resident memory grows by a tenth though tensors do not: what a CPU's
half-precision kernels keep for each shape is no encoder's."""
BATCH = 25
UNIT = 28
"""Pixels of a token's side, for patches of 14."""
LONGEST, MOST_TOKENS = 100, 200
_TEXT = "Count the objects."
QUIET = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
}
"""Environment of this process. glibc gives back what is freed, and oneDNN keeps few of
the kernels that it makes for each shape (1024 by default): growth is vLLM's own."""


def measure(
    job: EngineJob, model: str, checkpoint: str, say: Callable[[str], None]
) -> None:
    """Both measurements on one engine; writes them beside the outcomes."""
    from mmparity.engine.offline.llm import start, stop

    started = time.monotonic()
    llm = start(checkpoint, OPTIONS)
    say(f"{model}: encoder cache")
    cache = _cache_figures(llm, job.images)
    points = []
    for done in _serve(llm, sizes(job.growth)):
        resident = ask(llm, "probe_memory", False)[0]
        points.append(EnginePoint(done, resident["resident_bytes"]))
        if done % (8 * BATCH) == 0:
            say(f"{model}: {done} of {job.growth} requests")
    held = {**cache, "after all requests": _memory(llm)}
    stop(llm)
    seconds = round(time.monotonic() - started, 1)
    figures = EngineFigures(job.side, model, job.images, held, tuple(points), seconds)
    write(figures, Path(job.out))


def sizes(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Heights and widths in pixels: every size once before one comes again."""
    sides = range(2, LONGEST + 1)
    distinct = [
        (UNIT * h, UNIT * w)
        for h, w in itertools.product(sides, sides)
        if h * w <= MOST_TOKENS
    ]
    random.Random(seed).shuffle(distinct)
    return list(itertools.islice(itertools.cycle(distinct), count))


def _cache_figures(llm: Any, images: int) -> dict[str, dict[str, int]]:
    """Before, after distinct images of one size, and after each reset there is."""
    figures = {"before serving": _memory(llm)}
    for _ in _serve(llm, [(6 * UNIT, 5 * UNIT)] * images, seed=1 << 20):
        pass
    figures[f"after {images} images"] = _memory(llm)
    llm.reset_mm_cache()
    figures["after reset_mm_cache"] = _memory(llm)
    if hasattr(llm, "reset_encoder_cache"):
        llm.reset_encoder_cache()
        figures["after reset_encoder_cache"] = _memory(llm)
    return figures


def _serve(llm: Any, wanted: list[tuple[int, int]], seed: int = 0) -> Iterator[int]:
    """One request for each size, in batches; gives the number done."""
    from vllm import SamplingParams

    from mmparity.engine.offline.media import prompt_of

    tokenizer = llm.get_tokenizer()
    parameters = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True)
    for first in range(0, len(wanted), BATCH):
        batch = wanted[first : first + BATCH]
        prompts = [
            prompt_of(
                Request(_TEXT, (Image("noise", height, width, seed + first + i),)),
                tokenizer,
            )
            for i, (height, width) in enumerate(batch)
        ]
        llm.generate(prompts, parameters, use_tqdm=False)
        yield first + len(batch)


def _memory(llm: Any) -> dict[str, int]:
    figures: dict[str, int] = ask(llm, "probe_memory")[0]
    return figures
