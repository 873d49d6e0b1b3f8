# SPDX-License-Identifier: Apache-2.0
"""The same functions by other kernels, for null pairs: what differs is rounding.

Attention by its formula in place of torch's SDPA; products of matrices with their
sums from the other end; the convolution that embeds patches as such a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode


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


class OtherSums(TorchDispatchMode):
    """Inside the ``with``, products are summed from the other end."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func`` with its operands turned, or what it is made of so."""
        given = dict(kwargs or {})
        if func in _COMPOSITE:  # in inference mode they come whole
            with self:
                made = func.decompose(*args, **given)
            if made is not NotImplemented:
                return made
        other = _OTHER.get(func)
        return other(*args, **given) if other else func(*args, **given)


def _embedded(
    patches: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *where: Any,
) -> torch.Tensor:
    """A convolution whose kernel covers its input once is a product."""
    if patches.shape[1:] != weight.shape[1:] or any(where[1]):
        return aten.convolution.default(patches, weight, bias, *where)
    rows, columns = patches.flatten(1).flip(1), weight.flatten(1).flip(1)
    product = rows @ columns.mT
    product = product if bias is None else product + bias
    return product.view(*product.shape, *[1] * (patches.ndim - 2))


aten = torch.ops.aten
_COMPOSITE = {
    *(aten.linear.default, aten.matmul.default, aten.einsum.default),
    *(aten.conv2d.default, aten.conv3d.default),
}
_OTHER: dict[Any, Callable[..., torch.Tensor]] = {
    aten.mm.default: lambda a, b, **given: aten.mm.default(
        a.flip(-1), b.flip(-2), **given
    ),
    aten.bmm.default: lambda a, b, **given: aten.bmm.default(
        a.flip(-1), b.flip(-2), **given
    ),
    aten.addmm.default: lambda bias, a, b, **given: aten.addmm.default(
        bias, a.flip(-1), b.flip(-2), **given
    ),
    aten.convolution.default: _embedded,
}


@contextmanager
def other_kernels() -> Iterator[None]:
    """Inside the ``with``, attention is ``attend`` and sums are in another order."""
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attend
    try:
        with OtherSums():
            yield
    finally:
        F.scaled_dot_product_attention = before
