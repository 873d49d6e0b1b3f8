# SPDX-License-Identifier: Apache-2.0
"""Ranks that die, fail or hang, and traces that are put together wrongly."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmparity.capture.gather import gather_traces
from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.ranks import RankFailed, run_ranks
from mmparity.capture.shards import shard
from mmparity.encoders.vllm_setup import backend_of
from mmparity.errors import MmparityError
from mmparity.processes import Command
from mmparity.trace import hook_points
from mmparity.trace.layout import LayoutError
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta

META = TraceMeta(
    implementation="unified",
    case="image",
    dtype="float32",
    device="cpu",
    weights_digest="w",
    pixels_digest="p",
    grid_thw=((1, 2, 2),),
    depth=1,
    seconds=1.0,
)
RANK = """
import os, sys, time
from mmparity.capture.job import Event, Job
job = Job.read(sys.argv[1])
what = job.trees["behaviour"].split(",")[job.rank]
print(Event("loading").to_line(), flush=True)
print("rank", job.rank, what, file=sys.stderr, flush=True)
if what == "dies":
    time.sleep(0.3)
    os._exit(7)
if what == "killed":
    os.kill(os.getpid(), 9)
if what == "stopped":
    os.kill(os.getpid(), 19)
if what == "quits":
    sys.exit(0)
if what == "victim":
    time.sleep(1)
    print(Event("error", kind="input", message="peer is gone").to_line(), flush=True)
    sys.exit(2)
if what == "hangs":
    time.sleep(600)
print(Event("done").to_line(), flush=True)
"""


def behave(tmp_path: Path, behaviour: str, silence: float = 60.0) -> list[Event]:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    events: list[Event] = []
    job = Job(
        "unified",
        {"behaviour": behaviour},
        "absent",
        (),
        tp=behaviour.count(",") + 1,
        silence_seconds=silence,
        rank_logs=str(tmp_path / "logs"),
    )
    run_ranks(job, events.append, Command((sys.executable, str(script))))
    return events


def test_what_the_first_rank_says_is_handed_on(tmp_path: Path) -> None:
    assert behave(tmp_path, "ends,ends") == [Event("loading")]
    assert (tmp_path / "logs" / "rank1.log").read_text() == "rank 1 ends\n"


def test_the_rank_that_died_is_named_and_not_its_victim(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RankFailed, match="rank 1 of 2 ended with exit status 7") as hit:
        behave(tmp_path, "victim,dies")
    assert "| rank 1 dies" in str(hit.value)
    assert time.monotonic() - started < 30


def test_a_dead_rank_ends_the_ones_that_wait_for_it(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RankFailed, match="rank 0 of 2 ended with exit status 7"):
        behave(tmp_path, "dies,hangs")
    assert time.monotonic() - started < 30


def test_a_rank_that_says_nothing_counts_as_hung(tmp_path: Path) -> None:
    with pytest.raises(
        RankFailed, match=r"rank 1 of 2 said nothing for 2 s.\nThe last lines"
    ) as hit:
        behave(tmp_path, "ends,hangs", silence=2.0)
    assert "| rank 1 hangs" in str(hit.value)


def test_a_killed_rank_is_named_with_its_signal(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match="rank 1 of 2 was ended by SIGKILL") as hit:
        behave(tmp_path, "hangs,killed")
    assert "| rank 1 killed" in str(hit.value)


def test_a_stopped_rank_counts_as_hung_and_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match="rank 0 of 2 said nothing for 2 s") as hit:
        behave(tmp_path, "stopped,ends", silence=2.0)
    assert "| rank 0 stopped" in str(hit.value)


def test_a_rank_that_ends_without_a_word_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match="rank 1 of 2 ended with exit status 0"):
        behave(tmp_path, "ends,quits")


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    with TraceWriter(folder, META) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor, "path")
    return folder


def gather(tmp_path: Path, *ranks: dict[str, torch.Tensor]) -> TraceReader:
    folders = [write(tmp_path / str(i), tensors) for i, tensors in enumerate(ranks)]
    gather_traces(folders, tmp_path / "out")
    return TraceReader(tmp_path / "out")


def test_shards_are_put_together_by_the_rule_of_their_hook_point(
    tmp_path: Path,
) -> None:
    qkv = torch.randn(5, 3, 4, 8)
    gate_up = torch.randn(5, 12)
    ranks = []
    for heads, columns in ((slice(0, 2), slice(0, 3)), (slice(2, 4), slice(3, 6))):
        gate, up = gate_up[:, :6][:, columns], gate_up[:, 6:][:, columns]
        shard = {
            "embeddings": torch.ones(5, 4),
            "blocks.0.attn.qkv": qkv[:, :, heads],
            "blocks.0.attn.q": qkv[:, 0, heads],
            "blocks.0.mlp.gate_up_proj": torch.cat((gate, up), 1),
        }
        ranks.append(shard)
    trace = gather(tmp_path, *ranks)
    assert torch.equal(trace.read("blocks.0.attn.qkv"), qkv)
    assert torch.equal(trace.read("blocks.0.attn.q"), qkv[:, 0])
    assert torch.equal(trace.read("blocks.0.mlp.gate_up_proj"), gate_up)
    assert trace.read("embeddings").shape == (5, 4)
    assert trace.meta.tensor_parallel == 2
    assert trace.record("blocks.0.attn.q").transforms == ("ranks_joined",)
    assert {r.error for r in trace.records} == {None}


def test_replicated_tensors_that_differ_never_pass(tmp_path: Path) -> None:
    second = torch.ones(5, 4)
    second[4, 3] += 1e-6
    trace = gather(tmp_path, {"embeddings": torch.ones(5, 4)}, {"embeddings": second})
    assert "ranks 0 and 1 differ" in (trace.record("embeddings").error or "")


def test_shards_that_do_not_fit_are_an_error_of_their_row(tmp_path: Path) -> None:
    name = "blocks.0.attn.q"
    ranks = ({name: torch.ones(5, 2, 8)}, {name: torch.ones(4, 2, 8)})
    error = gather(tmp_path, *ranks).record(name).error or ""
    assert "cannot be put together" in error


@pytest.mark.parametrize("field", ["weights_digest", "pixels_digest"])
def test_ranks_that_ran_something_else_are_refused(tmp_path: Path, field: str) -> None:
    tensors = {"embeddings": torch.ones(1)}
    folders = [write(tmp_path / "0", tensors)]
    with TraceWriter(tmp_path / "1", replace(META, **{field: "other"})) as writer:
        writer.add("embeddings", torch.ones(1), "path")
    with pytest.raises(MmparityError, match=f"ranks 0 and 1 .* {field} is '"):
        gather_traces([*folders, tmp_path / "1"], tmp_path / "out")
    assert not (tmp_path / "out" / "trace.json").exists()


def test_a_missing_rank_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "0", {"embeddings": torch.ones(1)})
    with pytest.raises(MmparityError, match="is not there"):
        gather_traces([folder, tmp_path / "1"], tmp_path / "out")
    assert not (tmp_path / "out" / "trace.json").exists()


def test_ranks_that_captured_other_hook_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match=r"not capture the same: blocks\.0"):
        gather(tmp_path, {"embeddings": torch.ones(1)}, {"blocks.0": torch.ones(1)})


def test_parts_of_the_ranks_do_not_stay(tmp_path: Path) -> None:
    item = CaptureJob("image", "in", "float32", str(tmp_path / "image-float32"))
    script = tmp_path / "rank.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from mmparity.capture.job import Event, Job\n"
        "job = Job.read(sys.argv[1])\nPath(job.captures[0].out).mkdir()\n"
        "print(Event('done').to_line())\n"
    )
    job = Job("unified", {}, "absent", (item,), tp=2)
    with pytest.raises(MmparityError, match="is not there"):
        run_ranks(job, lambda event: None, Command((sys.executable, str(script))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rank.py"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    ranks=st.sampled_from((1, 2, 4)),
    tokens=st.integers(1, 5),
    share=st.integers(1, 3),
    name=st.sampled_from(
        ("attn.qkv", "attn.q", "mlp.gate_up_proj", "mlp.act_fn", "norm1")
    ),
)
def test_shards_of_a_whole_make_it_again(
    tmp_path: Path, ranks: int, tokens: int, share: int, name: str
) -> None:
    point = hook_points.get(f"blocks.0.{name}")
    width = share * ranks
    shape = {
        "attn.qkv": (tokens, 3, width, 4),
        "attn.q": (tokens, width, 4),
        "mlp.gate_up_proj": (tokens, 2 * width),
    }.get(name, (tokens, width))
    whole = torch.randn(shape)
    name = f"blocks.0.{name}"
    shards = [{name: shard(whole, point, rank, ranks)} for rank in range(ranks)]
    shutil.rmtree(tmp_path, ignore_errors=True)
    assert torch.equal(gather(tmp_path, *shards).read(name), whole)


def test_a_width_that_the_ranks_cannot_share_is_an_error() -> None:
    point = hook_points.get("blocks.0.mlp.gate_up_proj")
    with pytest.raises(LayoutError, match="2 parts for 4 ranks"):
        shard(torch.ones(3, 12), point, 0, 4)


@pytest.mark.parametrize(
    ("device", "ranks", "devices", "backend"),
    [
        ("cpu", 4, 0, "gloo"),
        ("cuda", 1, 8, "gloo"),
        ("cuda", 2, 1, "gloo"),
        ("cuda", 2, 2, "nccl"),
        ("npu", 1, 1, "hccl"),
        ("npu", 4, 8, "hccl"),
    ],
)
def test_backend_is_the_devices_own_where_each_rank_has_one(
    device: str, ranks: int, devices: int, backend: str
) -> None:
    assert backend_of(device, ranks, devices) == backend


def test_too_few_npus_for_the_ranks_are_refused() -> None:
    with pytest.raises(MmparityError, match=r"--tp 4 .*sees 2.*ASCEND_RT_VISIBLE"):
        backend_of("npu", 4, 2)
