# SPDX-License-Identifier: Apache-2.0
"""Heads that don't divide among tensor-parallel ranks: vLLM's error."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from mmparity.engine.offline.checkpoints import served_checkpoint
from mmparity.engine.online.runners import runner

SCRIPT = """
import json, sys
from types import SimpleNamespace
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import EngineArgs

said = {}
try:
    arguments = EngineArgs(model=sys.argv[1], tensor_parallel_size=3)
    arguments.create_engine_config()
except Exception as error:
    said["language model"] = str(error)
group = SimpleNamespace(world_size=3, rank_in_group=0)
parallel_state.get_tp_group = lambda: group  # one of three ranks
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VisionAttention
try:
    Qwen2_5_VisionAttention(embed_dim=1280, num_heads=16, projection_size=1280)
except Exception as error:
    said["vision"] = str(error)
print("#" + json.dumps(said))
"""


def test_the_error_names_both_numbers(tmp_path: Path) -> None:
    chosen = runner("unified")
    model = served_checkpoint(tmp_path, "qwen2.5-vl")
    done = subprocess.run(
        [chosen.python, "-c", SCRIPT, str(model)],
        env=chosen.environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("#")] or [
        done.stderr
    ]
    said = json.loads(line[1:])
    assert (
        "Total number of attention heads (4) must be divisible by tensor parallel size "
        "(3)." in said["language model"]
    )
    assert said["vision"] == "16 is not divisible by 3"
