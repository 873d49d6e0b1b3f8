# SPDX-License-Identifier: Apache-2.0
"""What a tower says whose heads don't divide among three tensor-parallel ranks.

``main([IMPLEMENTATION, TREES])`` prints it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import SimpleNamespace

from mmparity.encoders import ALONE, vllm_runtime
from mmparity.workload.implementations import get

ONE_OF_THREE = SimpleNamespace(world_size=3, rank_in_group=0)


def main(arguments: Sequence[str]) -> int:
    implementation, trees = arguments
    runtime = vllm_runtime.start(get(implementation), json.loads(trees), "cpu", ALONE)
    from vllm.distributed import parallel_state
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VisionAttention

    parallel_state.get_tp_group = lambda: ONE_OF_THREE
    try:
        Qwen2_5_VisionAttention(embed_dim=1280, num_heads=16, projection_size=1280)
    except AssertionError as error:
        sys.stdout.write(f"{error}\n")
    runtime.close()
    return 0
