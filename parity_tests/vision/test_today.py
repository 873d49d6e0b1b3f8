# SPDX-License-Identifier: Apache-2.0
"""Today's releases in their own environment, where `make setup ENV=today` was run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.capture.job import CaptureJob, Job
from mmparity.project import SOURCES, environment_python
from mmparity.trace.reader import TraceReader
from mmparity.workload.implementation import TODAY
from mmparity.workload.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from conftest import Captures

NAMES = [
    n for n, item in IMPLEMENTATIONS.items() if item.optional and not item.installed
]
"""Those of today's environment, and what lies between it and those of the series."""
FLOAT32_ERROR = 2e-6
DEPTH = 2
PYTHON = environment_python(TODAY)
pytestmark = pytest.mark.skipif(
    not (PYTHON.parents[1] / "setup.json").is_file(),
    reason="no environment today: make setup ENV=today",
)


@pytest.fixture(scope="module")
def trace_of(captures: Captures, tmp_path_factory: pytest.TempPathFactory):
    """``trace_of(implementation)`` -> its float32 trace of the shared pixels."""
    done: dict[str, TraceReader] = {}

    def trace(name: str) -> TraceReader:
        item = IMPLEMENTATIONS[name]
        for tree in item.trees.values():
            if not (SOURCES / tree).is_dir():
                pytest.skip(f"no {tree}: patchseries fetch --all && make apply")
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            trees = {source: str(SOURCES / t) for source, t in item.trees.items()}
            out = str(folder / "float32")
            capture = CaptureJob("grids", captures.inputs, "float32", out, counted=True)
            job = Job(
                name, trees, captures.checkpoint, (capture,), depth=captures.depth
            )
            python = str(PYTHON) if item.environment == TODAY else ""
            captures.work(replace(job, python=python), folder)
            done[name] = TraceReader(Path(out))
        return done[name]

    return trace


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_the_oracle_of_the_other_environment(
    trace_of, captures: Captures, name: str
) -> None:
    trace, oracle = trace_of(name), captures("hf", "float64")
    assert captures.wrong(trace, oracle, FLOAT32_ERROR) == {}
    assert [item for item in trace.unmatched if not item.explained] == []
    there, here = (one.meta.versions["transformers"] for one in (trace, oracle))
    major = "5" if IMPLEMENTATIONS[name].environment == TODAY else "4"
    assert there.split(".")[0] == major and here.split(".")[0] == "4"


@pytest.mark.slow
def test_the_series_reads_no_lengths_in_a_layer(trace_of) -> None:
    """One of the offsets in each block goes."""
    names = ("ascend-0.30.0rc2", "unified-ascend-0.30.0rc2")
    old, new = (trace_of(name).meta.counts.host_reads for name in names)
    assert old >= DEPTH and new <= old - DEPTH


@pytest.mark.slow
def test_vllm_ascend_0_13_0_pads_each_tensor_in_each_block(trace_of) -> None:
    meta = trace_of("ascend-0.13.0").meta
    assert meta.counts.pads >= 3 * DEPTH
    emulated = {name.partition(" ")[0] for name in meta.emulated}
    assert {"_npu_flash_attention_unpad", "npu_add_rms_norm_bias"} <= emulated


@pytest.mark.slow
def test_the_npus_operators_run_with_padded_heads(trace_of) -> None:
    meta = trace_of("ascend-0.30.0rc2").meta
    emulated = {name.partition(" ")[0] for name in meta.emulated}
    assert {"npu_fused_infer_attention_score", "npu_rotary_mul"} <= emulated
    known = meta.hyper_parameters
    assert known["padded_head_size"] == 128 and known["head_size"] == 80
    assert known["linear_class"].startswith("Ascend")
