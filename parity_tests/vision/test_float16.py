# SPDX-License-Identifier: Apache-2.0
"""Overflow in float16: where only one side has it, and where every side has.

Users reported the first for the last MLP of Qwen2.5-VL-3B (vllm#13817, vllm#13968,
vllm-ascend#562). 0.12.0 clamps after the last block; vllm-ascend 0.11.0's own encoder
does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from mmparity.capture.job import CaptureJob, Job
from mmparity.compare.case import compare_traces
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison
from mmparity.workload.seeded import seeded_checkpoint

if TYPE_CHECKING:
    from conftest import Captures

LAST = "blocks.1"
CHANNEL = 7
LAST_MLP = {
    "qwen2.5-vl-7b": (f"{LAST}.mlp.down_proj.weight", 2.0**18),
    "qwen2-vl-2b": (f"{LAST}.mlp.fc2.weight", 2.0**18),
}
"""Model -> the weight that is multiplied in one channel, and by how much."""


def overflowing(captures: Captures, model: str) -> Path:
    """A checkpoint whose last block leaves float16 in one channel."""
    seeded = seeded_checkpoint(captures.checkpoints, model, captures.depth)
    folder = captures.root / f"float16-{model}"
    shutil.copytree(seeded, folder)
    weight, factor = LAST_MLP[model]
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name in tensors:
            if name.endswith(weight):
                tensors[name][CHANNEL] *= factor
        file.unlink()  # it may be a link into the cache
        save_file(tensors, file, {"format": "pt"})
    return folder


def compared(captures: Captures, model: str, old: str, new: str) -> CaseComparison:
    checkpoint = captures.root / f"float16-{model}"
    if not checkpoint.exists():
        overflowing(captures, model)
    traces = []
    for name in (old, new):
        out = captures.root / f"float16-{model}-{name}"
        item = CaptureJob("grids", captures.inputs, "float16", str(out / "float16"))
        trees = captures.trees(name)
        job = Job(name, trees, str(checkpoint), (item,), depth=captures.depth)
        captures.work(job, out)
        traces.append(TraceReader(out / "float16"))
    return compare_traces(traces[0], traces[1], None)


def verdicts(case: CaseComparison) -> dict[str, str]:
    return {row.hook_point: row.verdict for row in case.layers}


def test_nan_where_the_other_side_clamps_is_a_difference(captures: Captures) -> None:
    case = compared(captures, "qwen2.5-vl-7b", "ascend-0.11.0", "unified-ascend")
    found = verdicts(case)
    assert case.verdict == "fail"
    assert found["blocks.0"] == "pass"
    assert found[LAST] == "error"
    failed = next(row for row in case.layers if row.verdict == "fail")
    assert failed.hook_point == "merger.ln_q"
    assert "old is not finite" in failed.reason
    assert failed.reason.endswith("the other side: finite")


@pytest.mark.parametrize(
    ("model", "after"), [("qwen2.5-vl-7b", "pass"), ("qwen2-vl-2b", "error")]
)
def test_overflow_of_every_side_is_no_difference_and_no_pass(
    captures: Captures, model: str, after: str
) -> None:
    case = compared(captures, model, "vllm-0.12.0", "unified")
    found = verdicts(case)
    assert case.verdict == "error"
    assert "fail" not in found.values()
    assert found[LAST] == "error"
    assert "no difference between them" in next(
        row.reason for row in case.layers if row.hook_point == LAST
    )
    assert found["merger.ln_q"] == found["last_hidden_state"] == after
