# SPDX-License-Identifier: Apache-2.0
"""What engines build whose users may send no media, as one line of JSON.

``python no_media.py CHECKPOINTS LIMITS...`` in the environment of a side: of each
checkpoint one engine for each limits, all asked the same.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from mmparity.engine.offline import worker
from mmparity.engine.offline.llm import start, stop
from mmparity.engine.offline.scenarios import Generate, Request

QUESTION = Generate((Request("Answer in one short sentence: what is two and two?"),))


def asked(checkpoint: str, limits: dict[str, int]) -> dict[str, Any]:
    """What one engine is made of, and answers."""
    llm = start(checkpoint, {"limit_mm_per_prompt": limits})
    executor = llm.llm_engine.model_executor
    model = executor.driver_worker.model_runner.get_model()
    [answer] = worker.generate(llm, QUESTION, 0)
    found = {
        "tower": model.visual is not None,
        "weights": sum("visual." in name for name, _ in model.named_parameters()),
        "tokens": answer.tokens,
    }
    stop(llm)
    return found


if __name__ == "__main__":
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    checkpoints, *limits = map(json.loads, sys.argv[1:])
    made = [[asked(checkpoint, one) for one in limits] for checkpoint in checkpoints]
    sys.stdout.write(json.dumps(made) + "\n")
