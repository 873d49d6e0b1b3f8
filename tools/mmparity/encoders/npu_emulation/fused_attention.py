# SPDX-License-Identifier: Apache-2.0
"""torch_npu's fused inference attention, for packed sequences, in PyTorch on a CPU.

Of its many modes only the one that encoders use is emulated: layout TND, no mask, no
cache, no quantisation. Anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from mmparity.encoders.npu_emulation import operators

NAME = "npu_fused_infer_attention_score"
_LANES = (64, 128, 192)
"""Head sizes of layout TND."""
_USED = (
    *("actual_seq_lengths", "actual_seq_lengths_kv", "num_heads", "scale"),
    *("num_key_value_heads", "input_layout", "block_size"),
)
"""What is looked at; a block's size means nothing without a block table."""
_WINDOW = 2147483647
_DEFAULTS = {
    "pre_tokens": _WINDOW,
    "next_tokens": _WINDOW,
    "sparse_mode": 0,
    "inner_precise": 0,
    "antiquant_mode": 0,
    "key_antiquant_mode": 0,
    "value_antiquant_mode": 0,
    "softmax_lse_flag": False,
}
"""None where a name is not here."""


def npu_fused_infer_attention_score(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **given: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention inside each of the sequences packed along dimension 0.

    ``given`` has the schema's names. The lengths are the ends of the sequences, on the
    host.

    Returns:
        The context, [T, heads, lanes], and an empty tensor: no sums of exponents.
    """
    _check_mode(given)
    heads = given.get("num_heads", 1)
    kv_heads = given.get("num_key_value_heads") or heads
    ends = _ends("actual_seq_lengths", given, query)
    kv_ends = _ends("actual_seq_lengths_kv", given, key)
    if len(ends) != len(kv_ends):
        raise ValueError(f"{NAME}: {len(ends)} sequences of queries, {len(kv_ends)}")
    _check_tensors({"query": query, "key": key, "value": value}, heads, kv_heads)
    context = torch.empty_like(query)
    start = kv_start = 0
    for end, kv_end in zip(ends, kv_ends, strict=True):
        parts = query[start:end], key[kv_start:kv_end], value[kv_start:kv_end]
        q, k, v = (part.transpose(0, 1)[None] for part in parts)
        found = F.scaled_dot_product_attention(
            q, k, v, scale=given.get("scale", 1.0), enable_gqa=kv_heads != heads
        )
        context[start:end] = found[0].transpose(0, 1)
        start, kv_start = end, kv_end
    return context, query.new_empty(0, dtype=torch.float32)


def _check_tensors(tensors: dict[str, torch.Tensor], heads: int, kv_heads: int) -> None:
    operators.check_heads(NAME, heads, kv_heads)
    query = tensors["query"]
    lanes = query.shape[-1]
    if lanes not in _LANES:
        raise ValueError(f"{NAME}: layout TND has heads of {_LANES}, not of {lanes}")
    for what, x in tensors.items():
        shape = (x.shape[0], heads if what == "query" else kv_heads, lanes)
        operators.check_attention(NAME, what, x, shape, query.dtype)


def _check_mode(given: Mapping[str, Any]) -> None:
    layout = given.get("input_layout", "BSH")
    others = sorted(
        name
        for name, value in given.items()
        if name not in _USED and not _is_default(value, _DEFAULTS.get(name))
    )
    if layout != "TND" or others:
        said = ", ".join([f"input_layout={layout!r}", *others])
        raise ValueError(
            f"{NAME}: only input_layout='TND' without a window, a mask, a cache and "
            f"quantisation is emulated, not {said}"
        )


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (
        not isinstance(value, torch.Tensor) and value == default
    )


def _ends(name: str, given: Mapping[str, Any], x: torch.Tensor) -> list[int]:
    found = list(given.get(name) or ())
    if not found or found != sorted(found) or found[0] < 0 or found[-1] != len(x):
        raise ValueError(
            f"{NAME}: {name} must rise to {len(x)}, the number of tokens, not {found}"
        )
    return found
