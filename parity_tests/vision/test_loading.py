# SPDX-License-Identifier: Apache-2.0
"""Forms of a checkpoint: W8A8 layers, and q, k and v apart or fused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.capture.job import CaptureJob, Job
from mmparity.compare.tolerances import tolerance_for
from mmparity.fork_server import ForkServer
from mmparity.trace.reader import TraceReader
from mmparity.workload.models import DEFAULT_MODEL
from mmparity.workload.seeded import seeded_checkpoint

if TYPE_CHECKING:
    from conftest import Captures

SPLIT_MODELS = ("qwen2.5-vl-3b", "qwen3-vl-2b")
"""Qwen2-VL has no mapping of them, in vLLM as in vllm-ascend 0.11.0."""
W8A8_SIDES = ("ascend-0.11.0", "unified-ascend", "unified-ascend-weights")


@pytest.fixture(scope="module")
def w8a8(
    captures: Captures, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TraceReader]:
    """Traces of a W8A8 tower, by implementation."""
    root = tmp_path_factory.mktemp("w8a8")
    seeded = captures.checkpoints, DEFAULT_MODEL, captures.depth
    checkpoint = str(seeded_checkpoint(*seeded, quantized=True))
    for name in W8A8_SIDES:
        out = root / name
        item = CaptureJob("grids", captures.inputs, "bfloat16", str(out / "trace"))
        job = Job(name, captures.trees(name), checkpoint, (item,), depth=captures.depth)
        out.mkdir()
        captures.work(job, out)
    return {name: TraceReader(root / name / "trace") for name in W8A8_SIDES}


def different(one: TraceReader, other: TraceReader) -> dict[str, float]:
    """Hook points that have other bits, with the normalized L2 error."""
    return {
        record.hook_point: error(one, other, record.hook_point)
        for record in one.records
        if record.digest != other.record(record.hook_point).digest
    }


def error(one: TraceReader, other: TraceReader, name: str) -> float:
    a, b = (trace.read(name).double() for trace in (one, other))
    return ((a - b).norm() / a.norm()).item()


def assert_within_floors(found: dict[str, float]) -> None:
    """No more than the released encoder differs by from itself."""
    for name, error in found.items():
        bound = tolerance_for(name, "bfloat16", "bfloat16", "W8A8")
        assert error <= bound.normalized_l2_error, name


def test_padded_w8a8_parameters_are_those_of_the_released_loader(
    w8a8: dict[str, TraceReader],
) -> None:
    """Equal bits until the first rotation, whose table 0.11.0 rounds to bfloat16."""
    old, new = w8a8["ascend-0.11.0"], w8a8["unified-ascend-weights"]
    for name in ("qkv", "q", "context"):
        transforms = new.record(f"blocks.0.attn.{name}").transforms
        assert "unpad_halves" in transforms
    found = different(old, new)
    assert list(found)[:3] == ["rotary.cos", "rotary.sin", "blocks.0.attn.q"]
    assert not found.keys() & {"blocks.0.attn.qkv", "blocks.0.attn.v"}
    assert_within_floors(found)


def test_w8a8_with_heads_padded_in_the_weights_equals_padded_activations(
    w8a8: dict[str, TraceReader],
) -> None:
    """Until attention, where padded lanes lie elsewhere in sums that are rounded."""
    padded, plain = w8a8["unified-ascend-weights"], w8a8["unified-ascend"]
    assert "unpad_halves" not in plain.record("blocks.0.attn.qkv").transforms
    found = different(plain, padded)
    assert next(iter(found), "") in ("", "blocks.0.attn.context")
    assert found.get("blocks.0.attn.context", 0.0) < 1e-4
    assert_within_floors(found)


def fork_says(forks: ForkServer, folder: Path, script: str, *words: str) -> str:
    """The last line of a script beside this file, run as a fork."""
    log = folder / "log"
    fork = forks.running(script).start([*words], log, {})
    said = fork.stdout.read()
    assert fork.wait() == 0, log.read_text()[-4000:]
    fork.end()
    return said.splitlines()[-1]


@pytest.mark.parametrize(
    "implementation", ["unified", "unified-ascend", "unified-ascend-weights"]
)
def test_q_k_and_v_apart_load_as_the_fused_ones(
    captures: Captures, forks: ForkServer, tmp_path: Path, implementation: str
) -> None:
    made = captures.checkpoints
    folders = [str(seeded_checkpoint(made, m, depth=2)) for m in SPLIT_MODELS]
    trees = json.dumps(captures.trees(implementation))
    said = fork_says(forks, tmp_path, "loads", implementation, trees, *folders)
    found = json.loads(said)
    assert len(found) == len(SPLIT_MODELS)
    for different, parts, parameters in found:
        assert different == []
        assert parts == 2 * 2 * 3 and parameters > 20


@pytest.mark.parametrize("implementation", ["vllm-0.12.0", "unified"])
def test_heads_that_do_not_divide_among_ranks_are_named(
    captures: Captures, forks: ForkServer, tmp_path: Path, implementation: str
) -> None:
    trees = json.dumps(captures.trees(implementation))
    said = fork_says(forks, tmp_path, "odd_ranks", implementation, trees)
    assert said == "16 is not divisible by 3"
