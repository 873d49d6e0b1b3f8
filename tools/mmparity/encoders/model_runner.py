# SPDX-License-Identifier: Apache-2.0
"""The model runner's cache of encoder outputs, without the rest of a model runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

RUNNERS = {
    False: ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner"),
    True: ("vllm_ascend.worker.model_runner_v1", "NPUModelRunner"),
}
"""The first model runner, of vLLM and of vllm-ascend."""
GROUPING = ("group_mm_kwargs_by_modality", "group_and_batch_mm_kwargs")
"""What makes a batch of items, by release; the batch is made already."""


def cached_entries(
    embed: Callable[[], Any], items: int, *, ascend: bool
) -> list[torch.Tensor]:
    """What the tree's own runner keeps of a batch of embeddings, an entry an item.

    Its method runs as it is, on a runner that has nothing else.

    Args:
        embed: gives the embeddings of all items, as the model does.
        items: how many there are.
        ascend: whether it is vllm-ascend's runner.
    """
    from vllm.config import get_current_vllm_config

    module, name = RUNNERS[ascend]
    kind = getattr(import_module(module), name)
    runner = _without_the_rest(kind)()
    runner.device = torch.device("cpu")
    runner.vllm_config = get_current_vllm_config()
    runner.encoder_cache = {}
    runner.model = SimpleNamespace(
        merge_by_field_config=True,
        multimodal_cpu_fields=frozenset(),
        embed_multimodal=embed,
        get_multimodal_embeddings=embed,
    )
    runner._batch_mm_kwargs_from_scheduler = lambda output: _by_position(items)
    runner._batch_mm_inputs_from_scheduler = lambda output: _by_hash(items)
    scheduled = SimpleNamespace(
        scheduled_encoder_inputs={"request": list(range(items))},
        ec_manager_metadata=None,
        free_encoder_mm_hashes=[],
    )
    with _one_batch(import_module(kind._execute_mm_encoder.__module__), items):
        runner._execute_mm_encoder(scheduled)
    return [runner.encoder_cache[str(i)] for i in range(items)]


@contextmanager
def _one_batch(module: Any, items: int) -> Iterator[None]:
    """All items are one batch for what a runner's module groups them with."""

    def grouped(given: Any, **options: Any) -> Iterator[Any]:
        yield "image", items, {}

    with ExitStack() as stack:
        for function in GROUPING:
            if hasattr(module, function):
                stack.enter_context(patch.object(module, function, grouped))
        yield


def _without_the_rest(kind: Any) -> Any:
    """A runner of a kind that was never set up: whatever it lacks is None."""

    def absent(self: Any, name: str) -> None:
        return None

    made = {"__init__": lambda self: None, "__getattr__": absent}
    return type(kind.__name__, (kind,), made)


def _by_position(items: int) -> tuple[list[Any], list[tuple[str, Any]]]:
    from vllm.multimodal.inputs import PlaceholderRange

    where = PlaceholderRange(offset=0, length=1)
    given = [SimpleNamespace(modality="image") for _ in range(items)]
    return given, [(str(i), where) for i in range(items)]


def _by_hash(items: int) -> tuple[list[str], list[tuple[str, Any]], list[Any]]:
    return [str(i) for i in range(items)], [("image", None)] * items, []
