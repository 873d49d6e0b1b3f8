# SPDX-License-Identifier: Apache-2.0
"""The same functions by other kernels, for null pairs: what differs is rounding.

Attention by its formula in place of torch's SDPA; products of matrices with their
sums from the other end; of the patches' embedding a product where it is a convolution
and a convolution where it is a product, for these two round most differently: over the
1,176 values of a patch, in float32 by 1.4e-7 and 2.7e-7 of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
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
    """Inside the ``with``, products are summed from the other end.

    ``embedding`` is the weight of the patches' embedding, (channels, ...).
    """

    def __init__(self, embedding: torch.Tensor | None = None) -> None:
        super().__init__()
        self.embedding = None if embedding is None else _memory(embedding)

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
        if func in _PRODUCTS and _memory(args[-1]) == self.embedding:
            product = _convolved(args[-2], args[-1])
            return args[0] + product if len(args) > 2 else product
        other = _OTHER.get(func)
        return other(*args, **given) if other else func(*args, **given)


def _memory(tensor: torch.Tensor) -> int:
    """What a tensor and its views have in common."""
    return tensor.untyped_storage().data_ptr()


def _convolved(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The product of (n, k) and (k, m) as a convolution over k."""
    given, kernels = rows[:, None], columns.mT[:, None]
    where = [1], [0], [1], False, [0], 1
    return aten.convolution.default(given, kernels, None, *where).squeeze(-1)


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
_PRODUCTS = {aten.mm.default, aten.addmm.default}
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


def _embedding_of(model: nn.Module) -> torch.Tensor | None:
    weights = (
        parameter
        for name, parameter in model.named_parameters()
        if "patch_embed" in name and parameter.ndim > 1
    )
    return next(weights, None)


@contextmanager
def other_kernels(model: nn.Module | None = None) -> Iterator[None]:
    """Inside the ``with``, attention is ``attend`` and sums are in another order.

    ``model`` is the encoder that runs, by whose names the patches' embedding is known.
    """
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attend
    try:
        with OtherSums(None if model is None else _embedding_of(model)):
            yield
    finally:
        F.scaled_dot_product_attention = before
