# SPDX-License-Identifier: Apache-2.0
"""vLLM's CPU worker, doing what vllm-ascend's does for its models.

Apart from the platform, which must be there before a worker can be imported.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch
from vllm.v1.worker.cpu_worker import CPUWorker

from mmparity.encoders import ascend, npu_emulation
from mmparity.engine.offline import sides
from mmparity.engine.offline.overlay import SIDE_VARIABLE


class NpuOnCpuWorker(CPUWorker):  # type: ignore[misc]
    """Configures vllm-ascend, and calls its models as NPUModelRunner does."""

    def __init__(self, vllm_config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(vllm_config, *arguments, **options)
        side = sides.get(os.environ[SIDE_VARIABLE]).implementation
        npu_emulation.operators.float32_attention = (
            side.float32_attention and vllm_config.model_config.dtype == torch.float32
        )
        ascend.configure(vllm_config)

    def load_model(self) -> None:
        """Loads it; its 0.11.0 classes want the mask that vLLM 0.11.0 leaves out."""
        super().load_model()
        model = self.model_runner.get_model()
        embed = getattr(model, "get_input_embeddings", None)
        if hasattr(model, "embed_input_ids") or embed is None:
            return
        if "is_multimodal" in inspect.signature(embed).parameters:
            model.get_input_embeddings = _with_mask(embed, model.config)


def _with_mask(embed: Any, config: Any) -> Any:
    media = torch.tensor([config.image_token_id, config.video_token_id])

    def masked(
        input_ids: torch.Tensor, multimodal_embeddings: Any = None
    ) -> torch.Tensor:
        mask = torch.isin(input_ids, media)
        made: torch.Tensor = embed(input_ids, multimodal_embeddings, is_multimodal=mask)
        return made

    return masked
