# SPDX-License-Identifier: Apache-2.0
"""Faults planted in copies of the real trees: capture shows each at its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.capture.job import CaptureJob, Job
from mmparity.trace.reader import TraceReader
from mmparity.workload.cases import Case, Noise
from mmparity.workload.inputs import write_inputs

if TYPE_CHECKING:
    from conftest import Captures


@dataclass(frozen=True)
class Fault:
    """A text replaced in one file of a tree, and where it must show first."""

    implementation: str
    source: str
    file: str
    right: str
    wrong: str
    shows_at: str
    error: str = ""


MONKEY_PATCH = "vllm_ascend/patch/worker/patch_qwen2_5_vl.py"
OLD_CLASS = "vllm_ascend/models/qwen2_5_vl.py"
SHARED = "vllm/model_executor/models/qwen2_5_vl.py"
FAULTS = {
    "scale-of-the-padded-head": Fault(
        "ascend-0.12.0rc1",
        "vllm-ascend",
        MONKEY_PATCH,
        "scale_value=self.hidden_size_per_attention_head**-0.5",
        "scale_value=MAX_PAD_SIZE**-0.5",
        "blocks.0.attn.context",
    ),
    "padding-that-is-not-zero": Fault(
        "ascend-0.12.0rc1",
        "vllm-ascend",
        MONKEY_PATCH,
        'v = F.pad(v, (0, pad_len), mode="constant", value=0)',
        'v = F.pad(v, (0, pad_len), mode="constant", value=1e-6)',
        "blocks.0.attn.v",
        error="padded lanes are not zero",
    ),
    "qkv-bias-not-padded-in-halves": Fault(
        "ascend-0.11.0",
        "vllm-ascend",
        OLD_CLASS,
        "bias_padded = torch.cat([first_half_padded, second_half_padded], dim=2)",
        "bias_padded = torch.nn.functional.pad(bias.reshape(-1, 3, 80), (0, 48))",
        "blocks.0.attn.qkv",
        error="padded lanes are not zero",
    ),
    "window-lengths-everywhere": Fault(
        "vllm-0.12.0",
        "vllm",
        SHARED,
        "                cu_seqlens_now = cu_seqlens\n",
        "                cu_seqlens_now = cu_window_seqlens\n",
        "blocks.1.cu_seqlens",
    ),
    "result-left-in-window-order": Fault(
        "vllm-0.12.0",
        "vllm",
        SHARED,
        "hidden_states = hidden_states[reverse_indices, :]",
        "hidden_states = hidden_states[window_index, :]",
        "last_hidden_state",
    ),
}


def text_with(tree: str, fault: Fault) -> str:
    """The file of the fault, with the fault in it."""
    text = Path(tree, fault.file).read_text()
    assert text.count(fault.right) == 1, f"{fault.file} has changed"
    return text.replace(fault.right, fault.wrong)


def test_an_encoder_that_raises_says_where_and_other_cases_go_on(
    captures: Captures, tmp_path: Path
) -> None:
    fault = Fault(
        "vllm-0.12.0",
        "vllm",
        SHARED,
        "x, _ = self.qkv(x)",
        "x, _ = self.qkv(x if len(x) > 16 else x[..., 1:])",
        "blocks.0.attn.qkv",
    )
    trees = captures.trees(fault.implementation)
    tree = trees[fault.source]
    texts = {fault.file: text_with(tree, fault)}
    trees[fault.source] = captures.tree_with(tree, texts, tmp_path / "tree")
    small = Case("small", "few patches", (Noise((1, 4, 4)),))
    inputs = {"small": write_inputs(small, tmp_path), "grids": captures.inputs}
    jobs = tuple(
        CaptureJob(name, str(file), "float32", str(tmp_path / name), second=True)
        for name, file in inputs.items()
    )
    captures.work(
        Job(fault.implementation, trees, captures.checkpoint, jobs, depth=2), tmp_path
    )
    broken, whole = TraceReader(tmp_path / "small"), TraceReader(tmp_path / "grids")
    assert broken.meta.raised.startswith(f"{fault.shows_at} raised RuntimeError: ")
    assert broken.records[-1].hook_point == "blocks.0.max_seqlen"
    assert [item for item in broken.unmatched if not item.explained] == []
    assert whole.meta.raised == ""
    right = captures(fault.implementation, "float32")
    assert first_difference(whole, right) == ("", "")


def first_difference(trace: TraceReader, right: TraceReader) -> tuple[str, str]:
    for record in right.records:
        name = record.hook_point
        if name not in trace:
            return name, "missing"
        if trace.record(name).error:
            return name, trace.record(name).error or ""
        exact, got = right.read(name).double(), trace.read(name).double()
        if got.shape != exact.shape or (got - exact).norm() > 1e-6 * exact.norm():
            return name, ""
    return "", ""


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_shows_first_where_it_is(
    captures: Captures, name: str, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    trees = captures.trees(fault.implementation)
    tree = trees[fault.source]
    texts = {fault.file: text_with(tree, fault)}
    trees[fault.source] = captures.tree_with(tree, texts, tmp_path / "tree")
    captures.run(fault.implementation, trees, tmp_path)
    trace = TraceReader(tmp_path / "float32")
    assert trace.meta.sources[fault.source] == "unversioned"
    place, error = first_difference(trace, captures(fault.implementation, "float32"))
    assert place == fault.shows_at
    assert fault.error in error
    assert bool(fault.error) == bool(error)
