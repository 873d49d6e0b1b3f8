# SPDX-License-Identifier: Apache-2.0
"""`vllm bench serve` of a side's own tree against its server."""

from __future__ import annotations

import json
from pathlib import Path

from mmparity.engine.online.runners import Runner, run
from mmparity.engine.online.servers import SERVED
from mmparity.engine.online.types import BenchResult, BenchSide
from mmparity.errors import MmparityError

PIXELS = 224
FIGURES = {
    "requests/s": "request_throughput",
    "tokens/s": "output_throughput",
    **{
        f"{name}, ms {p}": f"{p}_{key}_ms"
        for name, key in (
            ("first token", "ttft"),
            ("each later token", "tpot"),
            ("whole answer", "e2el"),
        )
        for p in ("p50", "p95", "p99")
    },
}
"""What a reader wants to know -> vLLM's name of it."""


def bench(
    runner: Runner, url: str, model: str, file: Path, requests: int, concurrency: int
) -> BenchSide:
    """Runs it with seeded random images and prompts, the same on every side.

    What it writes is kept in ``file``, and what it says beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    arguments = [
        *("bench", "serve", "--backend", "openai-chat", "--base-url", url),
        *("--endpoint", "/v1/chat/completions", "--model", model),
        *("--served-model-name", SERVED, "--dataset-name", "random-mm"),
        *("--random-input-len", "32", "--random-output-len", "16"),
        *("--random-mm-base-items-per-request", "1"),
        *("--random-mm-limit-mm-per-prompt", '{"image": 1, "video": 0}'),
        *("--random-mm-bucket-config", f"{{({PIXELS}, {PIXELS}, 1): 1.0}}"),
        *("--num-prompts", str(requests), "--max-concurrency", str(concurrency)),
        *("--seed", "0", "--temperature", "0", "--ignore-eos", "--disable-tqdm"),
        *("--percentile-metrics", "ttft,tpot,e2el", "--metric-percentiles", "50,95,99"),
        *("--save-result", "--save-detailed"),
        *("--result-dir", str(file.parent.resolve()), "--result-filename", file.name),
    ]
    log = file.with_suffix(".log")
    run(runner.command(*arguments), runner.environment, log,
        f"vllm bench serve of {runner.name}")  # fmt: skip
    return read(file, log)


def read(file: Path, log: Path) -> BenchSide:
    """What vLLM wrote, in our words."""
    try:
        raw = json.loads(file.read_text())
        return BenchSide(
            completed=raw["completed"],
            failed=raw["failed"],
            seconds=raw["duration"],
            figures={name: raw[key] for name, key in FIGURES.items()},
            answers=(*zip(raw["generated_texts"], raw["output_lens"], strict=True),),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MmparityError(
            f"vllm bench serve left no result that can be read in {file}: "
            f"{error!r}. Its log: {log}"
        ) from error


def compared(old: BenchSide, new: BenchSide, asked: int) -> BenchResult:
    """Both sides' figures and whether all was answered, and alike."""
    pairs = zip(old.answers, new.answers, strict=False)
    # A text may be empty: special tokens have none.
    same = sum(one == two and one[1] > 0 for one, two in pairs)
    sides = {"old": old, "new": new}
    for name, side in sides.items():
        if side.completed != asked or side.failed:
            reason = f"{name}: {side.completed} of {asked} requests were answered"
            return BenchResult("error", reason, same, sides)
    if same < asked:
        reason = f"{asked - same} of {asked} answers differ or have no token"
        return BenchResult("fail", reason, same, sides)
    return BenchResult("pass", f"{asked} answers are the same", same, sides)
