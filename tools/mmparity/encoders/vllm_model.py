# SPDX-License-Identifier: Apache-2.0
"""vLLM's model around a vision tower, without its language layers.

The model's class is the tree's own, and so is all that runs from pixels to the
embeddings of each image or clip; only ``__init__``, which builds the layers, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mmparity.workload.cases import is_clips

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}


class ModelAround:
    """What vLLM's runner calls, for a tower that is built already.

    Args:
        kind: the class of the model.
        tower: its ``visual``.
        vllm_config: of the process; its ``model_config`` is that of the tower.
        data_parallel: whether images are spread over ranks.
    """

    def __init__(
        self, kind: Any, tower: nn.Module, vllm_config: Any, data_parallel: bool
    ) -> None:
        model = nn.Module.__new__(kind)
        nn.Module.__init__(model)
        model.visual = tower
        model.config = vllm_config.model_config.hf_config
        model.vllm_config = vllm_config
        model.use_data_parallel = data_parallel
        model.is_multimodal_pruning_enabled = False
        # 0.11.0 calls it by its old name, and its runner gives fields a batch of one.
        embed = getattr(model, "embed_multimodal", None)
        self._embed = embed or model.get_multimodal_embeddings
        self._batched = embed is None

    def of_pixels(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> Sequence[Any]:
        """The embeddings of each item, [tokens, out]; clips go the way of videos."""
        return self._called(PIXELS, pixels, grid_thw)

    def of_embeddings(
        self, embeddings: torch.Tensor, grid_thw: torch.Tensor
    ) -> Sequence[Any]:
        """The same where a user gives embeddings, [tokens of all items, out]."""
        names = {"image": "image_embeds", "video": "video_embeds"}
        return self._called(names, embeddings, grid_thw)

    def _called(
        self, names: dict[str, str], values: torch.Tensor, grid_thw: torch.Tensor
    ) -> Sequence[Any]:
        way = "video" if is_clips(grid_thw.tolist()) else "image"
        given = {names[way]: values, f"{way}_grid_thw": grid_thw}
        if self._batched:
            given = {name: field[None] for name, field in given.items()}
        found: Sequence[Any] = self._embed(**given)
        return found
