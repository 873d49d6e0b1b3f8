# SPDX-License-Identifier: Apache-2.0
"""vLLM's CPU platform, with what vllm-ascend's platform answers about encoders.

Imported in vLLM's processes of Ascend sides only.
"""

from __future__ import annotations

from typing import Any

from vllm.platforms.cpu import CpuPlatform
from vllm_ascend.platform import NPUPlatform

from mmparity.encoders.platform import borrow

WORKER = "mmparity.engine.offline.npu_worker.NpuOnCpuWorker"


class NpuOnCpuPlatform(CpuPlatform):  # type: ignore[misc]
    """Answers about encoders as NPUPlatform does, about all else as a CPU."""

    def is_out_of_tree(self) -> bool:
        """As NPUPlatform: its operators know the backends that it names."""
        return True

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        """As NPUPlatform, names its own worker."""
        parallel_config = vllm_config.parallel_config
        if parallel_config.worker_cls == "auto":
            parallel_config.worker_cls = WORKER
        super().check_and_update_config(vllm_config)


borrow(NpuOnCpuPlatform, NPUPlatform)
