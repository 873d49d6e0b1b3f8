# SPDX-License-Identifier: Apache-2.0
"""Every family of towers against the oracle, on one device and spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import SOURCES, run_worker
from test_encoders_agree import FLOAT32_ERROR, errors, too_large

from mmparity import hook_points
from mmparity.cases import Case, Noise
from mmparity.checkpoint import read_vision_config
from mmparity.implementations import get
from mmparity.inputs import Geometry, write_inputs
from mmparity.jobs import CaptureJob, Job
from mmparity.models import FAMILIES
from mmparity.models import get as get_model
from mmparity.seeded import seeded_checkpoint
from mmparity.tracefile import TraceReader

pytestmark = pytest.mark.slow
DEPTH = 2
GRIDS = ((1, 8, 12), (2, 4, 4))


@dataclass
class Towers:
    """``towers(implementation, models, tp)`` -> their traces, from one job."""

    root: Path

    def __call__(
        self, implementation: str, models: tuple[str, ...], tp: int = 1
    ) -> dict[str, TraceReader]:
        given = get(implementation)
        dtype = "float64" if given.oracle else "float32"
        folder = self.root / f"{implementation}-{tp}"
        missing = [m for m in models if not (folder / m / "trace.json").exists()]
        if missing:
            captures = tuple(self._capture(m, dtype, folder / m) for m in missing)
            trees = {name: str(SOURCES / tree) for name, tree in given.trees.items()}
            folder.mkdir(exist_ok=True)
            job = Job(implementation, trees, "", captures, depth=DEPTH, tp=tp)
            run_worker(job, folder)
        return {model: TraceReader(folder / model) for model in models}

    def _capture(self, model: str, dtype: str, out: Path) -> CaptureJob:
        checkpoint = seeded_checkpoint(self.root, model, DEPTH)
        geometry = Geometry.of(read_vision_config(checkpoint))
        media = tuple(Noise(grid, seed) for seed, grid in enumerate(GRIDS))
        case = Case("grids", "seeded noise", media)
        inputs = write_inputs(case, self.root / "inputs" / model, geometry)
        return CaptureJob("grids", str(inputs), dtype, str(out), model, str(checkpoint))


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    return Towers(tmp_path_factory.mktemp("towers"))


MODELS = (
    "qwen2-vl-2b",
    "qwen2.5-vl-3b",
    "qwen2.5-omni-7b",
    "qwen3-vl-2b",
    "qwen3-vl-8b",
)
IMPLEMENTATIONS = {
    "ascend-0.11.0": MODELS[:3],
    "ascend-0.11.0-nopad": (MODELS[1], *MODELS[3:]),
    "ascend-0.12.0rc1": MODELS,
    "vllm-0.12.0": MODELS,
    "unified": MODELS,
    "unified-ascend": MODELS,
    "unified-ascend-weights": MODELS,
}
POS_EMBEDS = 5e-6
"""vLLM's resizing of positions computes where they lie in float32; 2.3e-6 was seen."""


def check(name: str, trace: TraceReader, oracle: TraceReader) -> None:
    family = FAMILIES[get_model(name).family]
    deepstack = DEPTH if family.architecture == "qwen3_vl" else 0
    expected = set(hook_points.expand(DEPTH, family.architecture, deepstack))
    assert {record.hook_point for record in trace.records} == expected, name
    assert [item for item in trace.unmatched if not item.explained] == [], name
    assert {r.hook_point: r.error for r in trace.records if r.error} == {}, name
    found = errors(trace, oracle)
    assert found.pop("pos_embeds", 0.0) <= POS_EMBEDS, name
    assert too_large(found, FLOAT32_ERROR) == {}, name


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_family_agrees_with_the_oracle(
    towers: Towers, implementation: str
) -> None:
    models = IMPLEMENTATIONS[implementation]
    oracle = towers("hf", MODELS)
    for name, trace in towers(implementation, models).items():
        check(name, trace, oracle[name])
        assert trace.meta.model == name


@pytest.mark.parametrize(
    ("implementation", "tp"),
    [
        ("unified", 2),
        ("unified", 4),
        ("unified-ascend", 2),
        ("unified-ascend-weights", 2),
    ],
)
def test_ranks_together_agree_with_the_oracle(
    towers: Towers, implementation: str, tp: int
) -> None:
    oracle = towers("hf", MODELS)
    for name, trace in towers(implementation, MODELS, tp).items():
        check(name, trace, oracle[name])
        assert trace.meta.tensor_parallel == tp
        assert "ranks_joined" in trace.record("blocks.0.attn.qkv").transforms


def test_released_qwen2_vl_is_wrong_on_two_ranks(towers: Towers) -> None:
    """Its qkv is cut across q, k and v; the series' qwen2-vl-tensor-parallel."""
    name = MODELS[0]
    oracle = towers("hf", MODELS)[name]
    trace = towers("vllm-0.12.0", (name,), 2)[name]
    wrong = too_large(errors(trace, oracle), FLOAT32_ERROR)
    assert next(iter(wrong)) == "blocks.0.attn.qkv"
    assert wrong["blocks.0.attn.qkv"] > 0.5
    assert "last_hidden_state" in wrong
