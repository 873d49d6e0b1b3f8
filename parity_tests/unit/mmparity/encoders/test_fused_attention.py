# SPDX-License-Identifier: Apache-2.0
"""The emulated fused attention: what it computes of packed sequences and refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmparity.encoders.npu_emulation import fused_attention, operators
from mmparity.encoders.npu_emulation.fused_attention import (
    npu_fused_infer_attention_score as attention,
)

ENDS = [3, 3, 8]
"""A sequence of three tokens, an empty one, and one of five."""


def draw(heads: int, lanes: int = 64, tokens: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, heads, lanes, generator=generator).bfloat16()


def called(query: torch.Tensor, kv_heads: int, **changes: object) -> torch.Tensor:
    given = {
        "actual_seq_lengths": ENDS,
        "actual_seq_lengths_kv": ENDS,
        "num_heads": query.shape[1],
        "num_key_value_heads": kv_heads,
        "scale": 0.5,
        "input_layout": "TND",
        **changes,
    }
    key, value = draw(kv_heads, seed=1), draw(kv_heads, seed=2)
    context, _ = attention(query, key, value, **given)
    return context


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_each_sequence_attends_to_itself_alone(kv_heads: int) -> None:
    query = draw(4)
    got = called(query, kv_heads)
    repeats = 4 // kv_heads
    key, value = (
        draw(kv_heads, seed=seed).repeat_interleave(repeats, 1) for seed in (1, 2)
    )
    for start, end in ((0, 3), (3, 8)):
        q, k, v = (x[start:end].transpose(0, 1)[None] for x in (query, key, value))
        exact = F.scaled_dot_product_attention(
            q.double(), k.double(), v.double(), scale=0.5
        )
        assert torch.allclose(
            got[start:end].double(), exact[0].transpose(0, 1), atol=2e-2
        )


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"input_layout": "BSH"}, "input_layout='BSH'"),
        ({"atten_mask": torch.zeros(1)}, "atten_mask"),
        ({"pre_tokens": 4}, "without a window"),
        ({"actual_seq_lengths": [3, 7]}, "must rise to 8"),
        ({"actual_seq_lengths": [5, 3, 8]}, "must rise to 8"),
        ({"actual_seq_lengths_kv": [3, 8]}, "sequences of queries"),
        ({"num_key_value_heads": 3}, "multiple of num_kv_heads"),
        ({"num_key_value_heads": 2}, r"must be \[8, 2, 64\]"),
    ],
)
def test_what_encoders_do_not_call_is_refused(
    changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        called(draw(4), 4, **changes)


def test_a_head_size_that_the_layout_lacks_is_refused() -> None:
    query = draw(4, lanes=80)
    with pytest.raises(ValueError, match="not of 80"):
        attention(
            query,
            query,
            query,
            actual_seq_lengths=ENDS,
            actual_seq_lengths_kv=ENDS,
            num_heads=4,
            input_layout="TND",
        )


def test_float32_is_refused_as_on_a_device_unless_native_attention_stands_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = draw(4).float()
    given = {
        "actual_seq_lengths": ENDS,
        "actual_seq_lengths_kv": ENDS,
        "num_heads": 4,
        "input_layout": "TND",
    }
    with pytest.raises(ValueError, match="must be float16 or bfloat16"):
        attention(query, query, query, **given)
    monkeypatch.setattr(operators, "float32_attention", True)
    context, _ = attention(query, query, query, **given)
    assert context.dtype == torch.float32
    assert attention.__name__ == fused_attention.NAME
