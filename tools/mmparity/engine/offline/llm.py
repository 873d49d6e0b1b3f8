# SPDX-License-Identifier: Apache-2.0
"""Starts and stops vLLM's `LLM` of one side."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from mmparity.engine.offline import (
    scenarios,
)

PROBE = "mmparity.engine.offline.probe.EngineProbe"


def start(checkpoint: str, options: scenarios.EngineArguments) -> Any:
    """vLLM's ``LLM`` with the options that all engines have, and the probe."""
    from vllm import LLM

    _import_model(Path(checkpoint))
    given = {**scenarios.COMMON, **options}
    return LLM(model=checkpoint, worker_extension_cls=PROBE, **given)


def _import_model(checkpoint: Path) -> None:
    """Its class into this process, else vLLM starts another to look at it."""
    from transformers import AutoConfig
    from vllm import ModelRegistry
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    for name in AutoConfig.from_pretrained(checkpoint).architectures:
        model = ModelRegistry.models[name].load_model_cls()
        ModelRegistry.register_model(name, model)


def stop(llm: Any) -> None:
    """Takes an engine down, so that the next one finds the process as new."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    core = llm.llm_engine.engine_core
    core.shutdown()
    del core
    cleanup_dist_env_and_memory()
    gc.collect()
