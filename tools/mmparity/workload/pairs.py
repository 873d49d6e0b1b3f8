# SPDX-License-Identifier: Apache-2.0
"""Which implementations are compared with each other. Names only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmparity.errors import MmparityError
from mmparity.project import known
from mmparity.workload.models import DEFAULT_MODEL
from mmparity.workload.models import get as get_model
from mmparity.workload.towers import TOWERS

if TYPE_CHECKING:
    from mmparity.types.comparison import Expected
    from mmparity.workload.implementations import Implementation

Pairs = tuple[tuple[str, str], ...]

DEFAULT_PAIRS = (
    ("ascend-0.11.0", "unified-ascend"),
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("vllm-0.12.0", "unified"),
)
MODEL_PAIRS = (
    ("ascend-0.11.0", "unified-ascend"),
    ("ascend-0.11.0-nopad", "unified-ascend"),
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("ascend-0.11.0", "unified-ascend-weights"),
    ("ascend-0.11.0-nopad", "unified-ascend-weights"),
    ("vllm-0.12.0", "unified"),
)
"""With --model: both padding modes; the classes without padding stand in where
no padding class was written."""
TOWER_PAIRS = (("vllm-0.12.0", "unified"), ("vllm-0.12.0", "unified-ascend"))
"""Of the towers beside Qwen-VL's, of which vllm-ascend had no encoders of its own."""
TODAY_PAIRS = (
    ("hf", "hf-today"),
    ("vllm-0.12.0", "vllm-0.13.0"),
    ("vllm-0.13.0", "vllm-0.30.0"),
    ("vllm-0.30.0", "vllm-0.33.0"),
    ("vllm-0.33.0", "unified-0.33.0"),
    ("vllm-0.30.0", "unified-0.30.0"),
    ("vllm-0.30.0", "ascend-0.30.0rc2"),
    ("vllm-0.13.0", "ascend-0.13.0"),
    ("ascend-0.12.0rc1", "ascend-0.13.0"),
    ("ascend-0.13.0", "ascend-0.30.0rc2"),
    ("ascend-0.30.0rc2", "unified-ascend-0.30.0rc2"),
    ("unified-ascend", "unified-ascend-0.30.0rc2"),
)
"""The oracle with that of today's transformers, each release with the next, and what
today's series replaces with what they make."""
TODAY_MODELS = ("qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b", "qwen3-vl-30b-a3b")
"""One of each family that today's series touches."""
QUANTIZED_PAIRS = tuple(
    pair for pair in MODEL_PAIRS if pair[0] in ("ascend-0.11.0", "ascend-0.12.0rc1")
)
"""Those that load W8A8; the second has the same bits, so that no rounding hides."""
IDENTICAL = (
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("vllm-0.12.0", "unified"),
    ("vllm-0.33.0", "unified-0.33.0"),
    ("vllm-0.30.0", "unified-0.30.0"),
    ("ascend-0.30.0rc2", "unified-ascend-0.30.0rc2"),
)
"""Pairs whose arithmetic is the same: every row has old's bits, in every dtype."""
STANDS_IN_FOR = {"ascend-0.11.0-nopad": "ascend-0.11.0"}


def has_encoder(implementation: Implementation, model: str | None) -> bool:
    """Whether an implementation has an encoder for a model."""
    return get_model(model or DEFAULT_MODEL).family in implementation.classes


def expected_of(
    old: str, new: str, device: str = "cpu", model: str | None = None
) -> Expected:
    """What a pair is held to on a device, where nothing else is asked for.

    On an NPU no pair was measured yet.
    """
    tower = TOWERS.get(model or "")
    loosened = tower is not None and bool(tower.loosened)
    same = device != "npu" and (old, new) in IDENTICAL and not loosened
    return "identical" if same else "floor"


def choose_pairs(
    old: str | None,
    new: str | None,
    implementations: dict[str, Implementation],
    model: str | None,
    defaults: Pairs,
) -> Pairs:
    """The pair given, or those of ``defaults`` with a given side and an encoder."""
    for name in (old, new):
        if name is not None:
            given = known("implementation", name, implementations)
            if not has_encoder(given, model):
                raise MmparityError(
                    f"{name} has no encoder for {model}. With one: "
                    + ", ".join(
                        n for n, i in implementations.items() if has_encoder(i, model)
                    )
                )
    if old is not None and new is not None:
        return ((old, new),)
    pairs = tuple(
        pair
        for pair in defaults
        if old in (None, pair[0])
        and new in (None, pair[1])
        and all(has_encoder(implementations[side], model) for side in pair)
        and (old is not None or not _is_stood_for(pair[0], implementations, model))
    )
    if not pairs:
        option, other = ("--old", "--new") if new is None else ("--new", "--old")
        raise MmparityError(
            f"{option} {old or new} is in no default pair: give {other} too."
        )
    return pairs


def _is_stood_for(
    name: str, implementations: dict[str, Implementation], model: str | None
) -> bool:
    """Whether the implementation that ``name`` stands in for has the encoder."""
    better = STANDS_IN_FOR.get(name)
    return better is not None and has_encoder(implementations[better], model)
