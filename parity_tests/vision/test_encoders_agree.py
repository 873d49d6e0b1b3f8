# SPDX-License-Identifier: Apache-2.0
"""Every implementation, from its real trees, against the float64 oracle."""

from __future__ import annotations

import subprocess
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
import torch

from mmparity.compare.evidence.structure import differences
from mmparity.encoders.npu_emulation import EMULATED
from mmparity.trace import hook_points
from mmparity.workload.implementation import FLOAT32_NOTE
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.pairs import MODEL_PAIRS

if TYPE_CHECKING:
    from conftest import Captures

COMPARED = [
    name
    for name, item in IMPLEMENTATIONS.items()
    if not item.oracle and not item.optional
]
ASCEND = [name for name in COMPARED if IMPLEMENTATIONS[name].ascend]
NATIVE = [name for name in COMPARED if name not in ASCEND]
UNUSED = {
    *("npu_fast_gelu", "npu_quantize", "npu_quant_matmul"),
    "npu_fused_infer_attention_score",
}
"""Emulated operators that Qwen2.5-VL in bfloat16 does not call."""
NATIVE_OPERATOR = "vit_torch_sdpa_wrapper"
"""Where AscendMMEncoderAttention goes in float32."""
FLOAT32_ERROR = 2e-6
"""Some ten roundings of 6e-8 on the way through two blocks; 6e-7 was seen."""
BFLOAT16_ERROR = 2e-2
"""The same with roundings of 4e-3; 8e-3 was seen."""


@pytest.mark.parametrize("implementation", [*COMPARED, "hf"])
def test_every_hook_point_is_captured_and_nothing_else_runs(
    captures: Captures, implementation: str
) -> None:
    trace = captures(implementation, "float64" if implementation == "hf" else "float32")
    names = [record.hook_point for record in trace.records]
    assert set(names) == set(
        hook_points.expand(captures.depth, items=len(captures.grids))
    )
    assert [item for item in trace.unmatched if not item.explained] == []
    assert {r.hook_point: r.error for r in trace.records if r.error} == {}
    in_blocks = [name for name in names if name.startswith("blocks.")]
    assert in_blocks == sorted(in_blocks, key=lambda name: int(name.split(".")[1]))


@pytest.mark.parametrize("implementation", COMPARED)
def test_float32_agrees_with_the_oracle_at_every_hook_point(
    captures: Captures, implementation: str
) -> None:
    trace, oracle = captures(implementation, "float32"), captures("hf", "float64")
    assert captures.wrong(trace, oracle, FLOAT32_ERROR) == {}


@pytest.mark.parametrize("implementation", COMPARED)
def test_bfloat16_is_off_by_roundings_only(
    captures: Captures, implementation: str
) -> None:
    trace, oracle = captures(implementation, "bfloat16"), captures("hf", "float64")
    assert trace.record("blocks.0.attn.context").dtype == "bfloat16"
    assert captures.wrong(trace, oracle, BFLOAT16_ERROR) == {}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unified_operators_equal_the_monkey_patches_bit_for_bit(
    captures: Captures, dtype: str
) -> None:
    old, new = captures("ascend-0.12.0rc1", dtype), captures("unified-ascend", dtype)
    different = [
        record.hook_point
        for record in old.records
        if record.digest != new.record(record.hook_point).digest
    ]
    assert different == []


def test_attention_used_the_lengths_of_the_grid(captures: Captures) -> None:
    full = [h * w for t, h, w in captures.grids for _ in range(t)]
    for implementation in COMPARED:
        trace = captures(implementation, "float32")
        windows = trace.read("blocks.0.seqlens")
        assert windows.sum() == sum(full)
        assert windows.max() <= 64
        assert trace.read("blocks.1.seqlens").tolist() == full
        for block, lengths in enumerate((windows.tolist(), full)):
            ends = [0, *accumulate(lengths)]
            assert trace.read(f"blocks.{block}.cu_seqlens").tolist() == ends
            assert trace.read(f"blocks.{block}.max_seqlen").tolist() == [max(lengths)]
        index = trace.read("window_index")
        assert torch.equal(index.sort().values, torch.arange(sum(full) // 4))


@pytest.mark.parametrize(
    ("implementation", "transform", "seen"),
    [
        ("ascend-0.11.0", "unpad_halves", 128),
        ("ascend-0.11.0-nopad", None, 80),
        ("ascend-0.12.0rc1", "unpad_tail", 128),
        ("vllm-0.12.0", None, 80),
        ("unified", None, 80),
        ("unified-ascend", "unpad_tail", 128),
        ("unified-ascend-weights", "unpad_halves", 128),
    ],
)
def test_heads_are_padded_as_each_implementation_says(
    captures: Captures, implementation: str, transform: str | None, seen: int
) -> None:
    trace = captures(implementation, "float32")
    for name in ("q", "k", "v", "context"):
        transforms = trace.record(f"blocks.1.attn.{name}").transforms
        unpadded = [step for step in transforms if step.startswith("unpad")]
        assert unpadded == ([transform] if transform else [])
    assert trace.meta.hyper_parameters["padded_head_size"] == seen
    assert trace.meta.hyper_parameters["scale"] == pytest.approx(80**-0.5)


@pytest.mark.parametrize("implementation", COMPARED)
def test_a_trace_says_what_it_is_a_trace_of(
    captures: Captures, implementation: str
) -> None:
    meta = captures(implementation, "bfloat16").meta
    given = IMPLEMENTATIONS[implementation]
    assert bool(meta.emulated) == given.ascend
    assert set(meta.emulated) <= set(EMULATED) - UNUSED
    assert meta.sources.keys() == given.trees.keys()
    assert all(len(tree_id) == 40 for tree_id in meta.sources.values()), meta.sources
    assert meta.depth == captures.depth
    assert meta.grid_thw == captures.grids
    assert meta.hyper_parameters["tower_class"] == given.classes["qwen2_5_vl"].tower
    assert meta.hyper_parameters["full_attention_blocks"] == [1]
    assert {dtype for _, dtype in meta.parameters.values()} == {"bfloat16"}
    assert meta.parameters["blocks.0.norm1.weight"] == [[1280], "bfloat16"]
    assert meta.proven_weights == len(meta.parameters)
    assert meta.seconds is not None
    assert 0 < meta.seconds < 60


def test_ascend_operators_really_ran(captures: Captures) -> None:
    for implementation in ASCEND:
        found = captures(implementation, "float32").meta.hyper_parameters
        assert found["norm_class"] == "AscendRMSNorm"
        assert found["activation_class"] == "AscendSiluAndMul"
        assert found["linear_class"] == "AscendQKVParallelLinear"
    found = captures("unified-ascend", "float32").meta.hyper_parameters
    assert found["attention_operator_class"] == "AscendMMEncoderAttention"
    assert "additional_forward_context" in found["platform"]


def test_a_row_in_float32_says_what_attended(captures: Captures) -> None:
    operator = "_npu_flash_attention_unpad"
    for implementation in ASCEND:
        stands_in = IMPLEMENTATIONS[implementation].float32_attention
        trace = captures(implementation, "float32")
        attended = f"{operator} ({FLOAT32_NOTE})" if stands_in else NATIVE_OPERATOR
        for name in ("seqlens", "attn.q", "attn.context"):
            path = trace.record(f"blocks.1.{name}").path
            assert path.partition("/")[2] == attended, implementation
        assert (attended in trace.meta.emulated) == stands_in
        assert operator not in trace.meta.emulated
        trace = captures(implementation, "bfloat16")
        assert trace.record("blocks.1.attn.q").path.endswith(f"/{operator}")
        assert operator in trace.meta.emulated


@pytest.mark.parametrize("implementation", COMPARED)
def test_trees_are_not_written_to(captures: Captures, implementation: str) -> None:
    captures(implementation, "float32")
    for tree in captures.trees(implementation).values():
        status = ["git", "-C", tree, "status", "--porcelain", "--ignored"]
        done = subprocess.run(status, capture_output=True, text=True, check=True)
        assert done.stdout == ""


@pytest.mark.parametrize("pair", MODEL_PAIRS)
def test_structures_differ_as_the_patches_intend(
    captures: Captures, pair: tuple[str, str]
) -> None:
    old, new = (captures(name, "bfloat16").meta for name in pair)
    found = differences(old, new)
    assert [item for item in found if item.verdict != "intended"] == []
    assert "qwen-vl-one-vision-attention" in {item.patch for item in found}
    assert old.state_dict == new.state_dict == {}


def test_forward_was_counted_on_both_sides(captures: Captures) -> None:
    counts = [
        captures(name, "bfloat16").meta.counts
        for name in ("ascend-0.12.0rc1", "unified-ascend")
    ]
    old, new = counts
    assert old is not None and new is not None
    assert min(old.dispatches, new.dispatches) > 100
    assert old.pads >= 3 * captures.depth > new.pads
    assert min(old.peak_bytes, new.peak_bytes) > 100_000
    assert captures("unified", "float32").meta.counts is None, "one forward is enough"


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", NATIVE)
def test_float32_on_cuda_agrees_with_the_oracle(
    captures: Captures, implementation: str, device: str
) -> None:
    trace = captures(implementation, "float32", device)
    assert trace.meta.device == "cuda"
    assert captures.wrong(trace, captures("hf", "float64"), FLOAT32_ERROR) == {}


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", NATIVE)
def test_bfloat16_on_cuda_is_off_by_roundings_only(
    captures: Captures, implementation: str, device: str
) -> None:
    trace = captures(implementation, "bfloat16", device)
    assert trace.record("blocks.0.attn.context").dtype == "bfloat16"
    assert captures.wrong(trace, captures("hf", "float64"), BFLOAT16_ERROR) == {}


@pytest.mark.npu
@pytest.mark.parametrize("implementation", ASCEND)
def test_bfloat16_on_an_npu_is_off_by_roundings_only(
    captures: Captures, implementation: str, device: str
) -> None:
    trace = captures(implementation, "bfloat16", device)
    assert trace.meta.emulated == ()
    assert captures.wrong(trace, captures("hf", "float64"), BFLOAT16_ERROR) == {}
