# SPDX-License-Identifier: Apache-2.0
"""Null pairs: the rows of one image of a packed trace, and eager attention."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mmparity.commands import judge
from mmparity.compare.floors import read_floors
from mmparity.encoders.other_kernels import attend, other_kernels
from mmparity.errors import MmparityError
from mmparity.processes import Command
from mmparity.run import null_pairs
from mmparity.run.null_pairs import only_last_image
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
from mmparity.workload import implementations

GRIDS = ((1, 4, 4), (2, 2, 6))
ALONE = TraceMeta(
    "same", "image", "float32", "cpu", "w", "p", ((2, 2, 6),), 1, tensor_parallel=1
)


def packed(folder: Path, tensors: dict[str, torch.Tensor]) -> TraceReader:
    meta = replace(ALONE, case="packed", grid_thw=GRIDS, pixels_digest="both")
    with TraceWriter(folder, meta) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor, "x")
    return TraceReader(folder)


def test_rows_of_the_last_image_are_cut_out(tmp_path: Path) -> None:
    tokens = torch.arange(40.0)[:, None].repeat(1, 3)
    trace = packed(
        tmp_path / "packed",
        {
            "embeddings": tokens,
            "window_index": torch.cat((torch.arange(4).flip(0), 4 + torch.arange(6))),
            "blocks.0.seqlens": torch.tensor([16, 12, 12], dtype=torch.int32),
            "blocks.0.cu_seqlens": torch.tensor([0, 16, 28, 40], dtype=torch.int32),
            "blocks.0.max_seqlen": torch.tensor([16], dtype=torch.int32),
            "last_hidden_state": torch.arange(10.0)[:, None],
            "result.0": torch.arange(4.0)[:, None],
            "result.1": torch.arange(4.0, 10.0)[:, None],
            "given.0": torch.zeros(4, 1),
            "given.1": torch.ones(6, 1),
        },
    )
    mine = only_last_image(trace, ALONE, tmp_path / "mine")
    assert torch.equal(mine.read("embeddings"), tokens[16:])
    assert mine.read("window_index").tolist() == [0, 1, 2, 3, 4, 5]
    assert mine.read("blocks.0.seqlens").tolist() == [12, 12]
    assert mine.read("blocks.0.cu_seqlens").tolist() == [0, 12, 24]
    assert mine.read("blocks.0.max_seqlen").tolist() == [12]
    assert mine.read("last_hidden_state")[:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert mine.read("result.0")[:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert "result.1" not in mine
    assert not any(record.hook_point.startswith("given") for record in mine.records)
    assert mine.meta.pixels_digest == "p"
    assert mine.meta.grid_thw == ((2, 2, 6),)


def test_rows_that_are_of_no_image_are_an_error(tmp_path: Path) -> None:
    trace = packed(tmp_path / "packed", {"embeddings": torch.ones(7, 3)})
    with pytest.raises(MmparityError, match=r"embeddings has \(7, 3\) for 40 patches"):
        only_last_image(trace, ALONE, tmp_path / "mine")


@given(
    tokens=st.integers(1, 9),
    groups=st.integers(1, 3),
    scale=st.sampled_from((None, 0.3)),
    masked=st.booleans(),
)
def test_eager_attention_is_sdpa(
    tokens: int, groups: int, scale: float | None, masked: bool
) -> None:
    query = torch.randn(1, 2 * groups, tokens, 8, dtype=torch.float64)
    key, value = torch.randn(2, 1, 2, tokens, 8, dtype=torch.float64)
    mask = torch.eye(tokens, dtype=torch.bool) if masked else None
    given = {"attn_mask": mask, "scale": scale, "enable_gqa": True}
    exact = F.scaled_dot_product_attention(query, key, value, **given)
    assert torch.allclose(attend(query, key, value, **given), exact, atol=1e-12)


def test_sdpa_is_itself_again_after_an_error() -> None:
    before = F.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), other_kernels():
        assert F.scaled_dot_product_attention is attend
        raise ZeroDivisionError
    assert F.scaled_dot_product_attention is before


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_products_are_the_same_but_for_roundings(mode: type) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(768, 64)
    kernel = (2, 14, 14)
    embedding = torch.nn.Conv3d(3, 64, kernel, kernel)
    tokens, patches = torch.randn(2, 9, 768), torch.randn(9, 3, *kernel)
    single = torch.randn(9, 768), torch.randn(768, 64)
    batched = torch.randn(4, 9, 768), torch.randn(4, 768, 64)

    def products() -> list[torch.Tensor]:
        made = [linear(tokens), embedding(patches), single[0] @ single[1]]
        return [*made, torch.bmm(*batched), torch.einsum("bik,bkj->bij", *batched)]

    with mode():
        plain = products()
        with other_kernels():
            other = products()
        again = products()
    for a, b, c in zip(plain, other, again, strict=True):
        assert torch.equal(a, c)
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_an_embedding_that_is_a_product_becomes_a_convolution(bias: bool) -> None:
    model = torch.nn.ModuleDict({"patch_embed": torch.nn.Linear(1176, 64, bias=bias)})
    patches, embed = torch.randn(9, 1176), model["patch_embed"]
    assert isinstance(embed, torch.nn.Linear)
    kernels = embed.weight[:, None]
    with torch.inference_mode(), other_kernels(model):
        made = embed(patches)
    with torch.inference_mode():
        expected = F.conv1d(patches[:, None], kernels).squeeze(-1)
        expected = expected if embed.bias is None else embed.bias + expected
    assert torch.equal(made, expected)


WORKER = """
import json, os, sys
from pathlib import Path
import torch
from mmparity.workload.inputs import read_inputs
from mmparity.capture.job import Event, Job
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
job = Job.read(Path(sys.argv[1]))
for item in job.captures:
    inputs = read_inputs(Path(item.inputs))
    meta = TraceMeta(job.implementation, item.case, item.dtype, "cpu", "w",
                     inputs.pixels_digest, inputs.grid_thw, 2)
    x = inputs.pixel_values[:, :4].double()
    x = x + 1e-3 * (item.kernels == "other") + 1e-5 * (job.threads > 1)
    with TraceWriter(Path(item.out), meta) as writer:
        writer.add("embeddings", x.float(), "x")
print(Event("done").to_line(), flush=True)
"""


def test_one_command_measures_a_floor_from_three_null_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {"model_type": "qwen2_5_vl", "vision_config": {"depth": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    hf = implementations.IMPLEMENTATIONS["hf"]
    same = {"same": replace(hf, name="same", oracle=False), "hf": hf}
    monkeypatch.setattr(implementations, "IMPLEMENTATIONS", same)
    monkeypatch.setattr(
        null_pairs.measure_null_pairs,
        "__defaults__",
        (Command((sys.executable, str(worker))),),
    )
    out = tmp_path / "floors.json"
    words = ["--measure", "same", "--dtype", "float32", "--out", str(out)]
    words += ["--checkpoint", str(folder), "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(judge.floors, words)
    assert done.exit_code == 0, done.output
    assert "1 floors from 3 null pairs" in done.output
    floors = read_floors(out)
    assert 1e-4 < floors.errors["float32"]["embeddings"] < 1e-2  # of the kernels
    kinds = ["1 thread : ", "SDPA and products : other", "alone : packed"]
    assert all(k in line for k, line in zip(kinds, floors.sources, strict=True))
    assert floors.provenance[0].machine
    assert not (tmp_path / "work" / "traces").exists()
    assert (tmp_path / "work" / "comparison.json").exists()


def test_results_or_measure_but_not_both(tmp_path: Path) -> None:
    for words in ([], [str(tmp_path), "--measure", "same"]):
        arguments = [*words, "--out", str(tmp_path / "x")]
        done = CliRunner().invoke(judge.floors, arguments)
        assert done.exit_code == 2
        assert "either RESULTS or --measure" in done.output
