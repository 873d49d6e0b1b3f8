# SPDX-License-Identifier: Apache-2.0
"""What a known image is answered with over changes of weights, as one line of JSON.

``python new_weights.py [CHECKPOINT] OPTIONS`` in the environment of a side. Each step
has how many images were encoded, and the logprobs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from mmparity.engine.offline import worker
from mmparity.engine.offline.llm import start, stop
from mmparity.engine.offline.probe import ask
from mmparity.engine.offline.scenarios import SCENARIOS, Generate

KNOWN = SCENARIOS["one image"].steps[0]
assert isinstance(KNOWN, Generate)


def train(vllm_worker: Any, factor: float) -> None:
    """A trainer's method: new weights, with nothing of vLLM's called."""
    tower = vllm_worker.model_runner.get_model().visual
    tower.merger.ln_q.weight.data.mul_(factor)


def known_image(llm: Any, meanwhile: Callable[[], object] | None = None) -> Any:
    """Serves it; ``meanwhile`` comes after its first step, in the middle of it."""
    engine, whole = llm.llm_engine, llm.llm_engine.step
    if meanwhile is not None:

        def first_step() -> Any:
            engine.step = whole
            made = whole()
            assert engine.has_unfinished_requests()
            meanwhile()
            return made

        engine.step = first_step
    [answer] = worker.generate(llm, KNOWN, 0)
    [made] = ask(llm, "probe_take")
    logprobs = [[position[t] for t in sorted(position)] for position in answer.logprobs]
    return {"encoded": len(made), "logprobs": logprobs}


def main(checkpoints: str, options: str) -> None:
    """Serves the image over all changes, each beside what it is compared with."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    [checkpoint] = json.loads(checkpoints)
    llm = start(checkpoint, json.loads(options))
    ask(llm, "probe_record")
    steps = {"first": known_image(llm), "again": known_image(llm)}
    llm.collective_rpc(train, args=(2.0,))
    steps["trained"] = known_image(llm)
    llm.collective_rpc(train, args=(0.5,))
    steps["trained back"] = known_image(llm)
    steps["rpc in the middle"] = known_image(
        llm, lambda: llm.collective_rpc(train, args=(1.0,))
    )
    train(llm.llm_engine.model_executor.driver_worker, 2.0)
    llm.reset_encoder_cache()
    steps["trained in process"] = known_image(llm)
    train(llm.llm_engine.model_executor.driver_worker, 0.5)
    llm.reset_encoder_cache()
    steps["reset in the middle"] = known_image(llm, llm.reset_encoder_cache)
    stop(llm)
    sys.stdout.write(json.dumps(steps) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
