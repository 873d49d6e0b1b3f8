# SPDX-License-Identifier: Apache-2.0
"""Attention by its formula in place of torch's SDPA, for null pairs.

Another kernel for the same function: what differs is rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """softmax(q k^T * scale) v, as encoders call it: no dropout, not causal."""
    assert not is_causal and dropout_p == 0.0, (is_causal, dropout_p)
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(repeats, -3)
        value = value.repeat_interleave(repeats, -3)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    logits = (query @ key.mT) * factor
    if attn_mask is not None:
        blocked = attn_mask.dtype == torch.bool
        logits = (
            logits.masked_fill(~attn_mask, float("-inf"))
            if blocked
            else logits + attn_mask
        )
    return logits.softmax(-1) @ value


@contextmanager
def eager_attention() -> Iterator[None]:
    """Inside the ``with``, ``F.scaled_dot_product_attention`` is ``attend``."""
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before
