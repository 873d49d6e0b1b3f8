# SPDX-License-Identifier: Apache-2.0
"""What torch_npu's operators compute, in PyTorch on a CPU.

Where an operator rounds matters in bfloat16, so each follows its CANN kernel:
vector kernels compute in float32 and round when they store. Nothing here is
tuned to agree with any encoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

ATTENTION = "_npu_flash_attention_unpad"
float32_attention = False
"""Whether a released encoder that calls the attention operator in float32 gets what
native attention computes. A device refuses it, and so does the emulation elsewhere."""

_INT8 = torch.iinfo(torch.int8)
_ATTENTION_DTYPES = (torch.float16, torch.bfloat16)
_ROTARY_DTYPES = (*_ATTENTION_DTYPES, torch.float32)
_MOST_LANES = 256
_ROTARY_LANES = 896


def npu_rotary_mul(
    input: torch.Tensor,
    r1: torch.Tensor,
    r2: torch.Tensor,
    rotary_mode: str = "half",
    rotate: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotates ``input`` by cos ``r1`` and sin ``r2``; keeps input's dtype."""
    _check_rotary(input, r1, r2)
    if rotate is not None:
        raise ValueError("npu_rotary_mul: rotate is not emulated")
    x = input.float()
    if rotary_mode == "half":
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
    elif rotary_mode == "interleave":
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    else:
        raise ValueError(f"npu_rotary_mul: rotary_mode {rotary_mode!r} is not known")
    return (x * r1.float() + turned * r2.float()).to(input.dtype)


def _npu_flash_attention_unpad(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seq_len: torch.Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: torch.Tensor,
) -> None:
    """Attention inside each of the sequences packed along dimension 0.

    ``seq_len`` holds lengths, not offsets, and lies on the host: the real
    operator reads it there to plan its tiles. The kernel behind
    ``scaled_dot_product_attention`` accumulates in float32, as the NPU's does.
    """
    _check_lengths(seq_len)
    check_heads(ATTENTION, num_heads, num_kv_heads)
    heads = (num_heads, num_kv_heads, num_kv_heads, num_heads)
    tensors = {"query": query, "key": key, "value": value, "out": out}
    tokens = int(seq_len.sum())
    for count, (what, x) in zip(heads, tensors.items(), strict=True):
        shape = (tokens, count, query.shape[-1])
        check_attention(ATTENTION, what, x, shape, query.dtype)
    start = 0
    for length in seq_len.tolist():
        segment = slice(start, start + length)
        q, k, v = (x[segment].transpose(0, 1)[None] for x in (query, key, value))
        context = F.scaled_dot_product_attention(
            q,
            k,
            v,
            scale=scale_value,
            enable_gqa=num_kv_heads != num_heads,
        )
        out[segment] = context.squeeze(0).transpose(0, 1)
        start += length


def npu_format_cast(
    input: torch.Tensor,
    acl_format: int,
    customize_dtype: int | None = None,
    input_dtype: int | None = None,
) -> torch.Tensor:
    """Changes the storage layout on an NPU; the values and the shape stay."""
    return input


def npu_rms_norm(
    input: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """RMS norm, rounded once after the multiplication with gamma."""
    x = input.float()
    rstd = _reciprocal_rms(x, gamma, epsilon)
    return (x * rstd * gamma.float()).to(input.dtype), rstd


def npu_add_rms_norm(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """RMS norm of a sum: (normed, reciprocal rms, sum).

    The kernel norms the sum before it is rounded to bfloat16 (float16: after),
    and rounds once more before it multiplies with gamma.
    """
    dtype = x1.dtype
    total = x1 + x2
    x = total.float() if dtype == torch.float16 else x1.float() + x2.float()
    rstd = _reciprocal_rms(x, gamma, epsilon)
    normed = (x * rstd).to(dtype).float() * gamma.float()
    return normed.to(dtype), rstd, total


def npu_swiglu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """silu(first half) * second half."""
    gate, up = input.float().chunk(2, dim=dim)
    return (F.silu(gate) * up).to(input.dtype)


def npu_fast_gelu(input: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x), in the form that does not overflow."""
    x = input.float()
    magnitude = x.abs()
    shrunk = x * torch.exp(0.851 * (x - magnitude))
    return (shrunk / (1 + torch.exp(-1.702 * magnitude))).to(input.dtype)


def npu_quantize(
    input: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    dtype: torch.dtype,
    axis: int = 1,
    div_mode: bool = True,
) -> torch.Tensor:
    """Static quantisation to int8 along ``axis``."""
    if dtype not in (torch.qint8, torch.int8):
        raise ValueError(f"npu_quantize: {dtype} is not emulated; only torch.qint8 is")
    shape = [1] * input.dim()
    shape[axis] = -1
    scale = scales.float().view(shape)
    scaled = input.float() / scale if div_mode else input.float() * scale
    if zero_points is not None:
        scaled = scaled + zero_points.float().view(shape)
    return scaled.round().clamp(_INT8.min, _INT8.max).to(torch.int8)


def npu_quant_matmul(
    x1: torch.Tensor,
    x2: torch.Tensor,
    scale: torch.Tensor,
    *,
    offset: torch.Tensor | None = None,
    pertoken_scale: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    output_dtype: torch.dtype | None = None,
    group_sizes: list[int] | None = None,
) -> torch.Tensor:
    """int8 matmul with int32 accumulation, then dequantisation per column."""
    if x1.dtype != torch.int8 or x2.dtype != torch.int8 or group_sizes:
        raise ValueError("npu_quant_matmul: only int8 with int8 is emulated")
    # float64 holds every int32 sum exactly, and has a fast matmul on a CPU.
    total = x1.double() @ x2.double()
    if bias is not None and bias.dtype == torch.int32:
        total = total + bias.double()
    result = total.float() * _dequantisation_scale(scale)
    if pertoken_scale is not None:
        result = result * pertoken_scale.float().unsqueeze(-1)
    if bias is not None and bias.dtype != torch.int32:
        result = result + bias.float()
    if output_dtype in (None, torch.int8):
        if offset is not None:
            result = result + offset.float()
        return result.round().clamp(_INT8.min, _INT8.max).to(torch.int8)
    return result.to(output_dtype)


def _dequantisation_scale(scale: torch.Tensor) -> torch.Tensor:
    """float16 outputs take the scale as float32 bits inside an int64."""
    if scale.dtype == torch.int64:
        return scale.to(torch.int32).view(torch.float32)
    return scale.float()


def _reciprocal_rms(
    x: torch.Tensor, gamma: torch.Tensor, epsilon: float
) -> torch.Tensor:
    dims = tuple(range(-gamma.dim(), 0))
    return torch.rsqrt(x.square().mean(dim=dims, keepdim=True) + epsilon)


def _check_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    name = "npu_rotary_mul"
    for what, one in (("input", x), ("r1", cos), ("r2", sin)):
        if one.dim() != 4 or one.dtype not in _ROTARY_DTYPES:
            raise ValueError(
                f"{name}: {what} must have 4 dimensions of float16, bfloat16 or "
                f"float32, not {list(one.shape)} of {one.dtype}"
            )
    lanes = x.shape[-1]
    if lanes % 2 or lanes >= _ROTARY_LANES or {cos.shape[-1], sin.shape[-1]} != {lanes}:
        raise ValueError(
            f"{name}: the last dimensions must be one even number below "
            f"{_ROTARY_LANES}, not {lanes}, {cos.shape[-1]} and {sin.shape[-1]}"
        )


def _check_lengths(seq_len: torch.Tensor) -> None:
    if seq_len.device.type != "cpu" or seq_len.dtype != torch.int32:
        raise ValueError(
            f"{ATTENTION}: seq_len must be int32 on the host, not {seq_len.dtype} "
            f"on {seq_len.device}"
        )
    if seq_len.dim() != 1:
        raise ValueError(
            f"{ATTENTION}: seq_len must have one dimension, not {list(seq_len.shape)}"
        )


def check_heads(operator: str, num_heads: int, num_kv_heads: int) -> None:
    """Whether the heads of queries can share those of keys."""
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise ValueError(
            f"{operator}: num_heads {num_heads} must be a multiple of num_kv_heads "
            f"{num_kv_heads}"
        )


def check_attention(
    operator: str,
    what: str,
    x: torch.Tensor,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
) -> None:
    """What the real operator demands of a tensor, and would not survive without."""
    known = x.dtype in _ATTENTION_DTYPES
    if not known and not (float32_attention and x.dtype == torch.float32):
        raise ValueError(
            f"{operator}: {what} must be float16 or bfloat16, not {x.dtype}, which "
            "the operator does not have"
        )
    if x.dtype != dtype:
        raise ValueError(f"{operator}: {what} is {x.dtype}, but query is {dtype}")
    tokens, heads, lanes = shape
    if x.shape != shape:
        raise ValueError(
            f"{operator}: {what} must be [{tokens}, {heads}, {lanes}] for these "
            f"lengths and query's head size, not {list(x.shape)}"
        )
    if lanes > _MOST_LANES:
        raise ValueError(f"{operator}: heads of {lanes} are over {_MOST_LANES}")
    if not x.is_contiguous():
        raise ValueError(f"{operator}: {what} must be contiguous")
