# SPDX-License-Identifier: Apache-2.0
"""New compared while it runs: the same rows as stored tensors give, and no fewer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mmparity.against import NOT_FINITE, ComparingWriter, with_against
from mmparity.compare import compare_traces
from mmparity.jobs import CaptureJob, Job
from mmparity.resume import without_finished
from mmparity.tracefile import TraceReader
from mmparity.types import CaseComparison, MmparityError

if TYPE_CHECKING:
    from conftest import Sides

FAILING = "blocks.0.attn.context"


class Running:
    """New written beside old, in full and as it is compared while it runs."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.folder = sides.root / "running"

    def write(self, *, oracle: bool = True) -> Path:
        sides = self.sides
        self.old, self.stored, exact = sides.readers()
        self.oracle = exact if oracle else None
        meta = sides.new_meta
        with ComparingWriter(self.folder, meta, self.old, self.oracle) as writer:
            for name, tensor in sides.new.items():
                error = sides.new_errors.get(name)
                error = None if error == NOT_FINITE else error  # it finds it itself
                writer.add(name, tensor, f"visual.{name}", error=error)
                if tensor.is_floating_point():
                    tensor.zero_()  # as an encoder may that works in place
            for path, reason, explained in sides.new_unmatched:
                writer.unmatched(path, reason, explained)
        return self.folder

    def compare(self) -> tuple[CaseComparison, CaseComparison]:
        """From numbers and from tensors."""
        running = compare_traces(self.old, TraceReader(self.folder), self.oracle)
        return running, compare_traces(self.old, self.stored, self.oracle)


@pytest.fixture
def running(sides: Sides) -> Running:
    return Running(sides)


@pytest.mark.parametrize("oracle", [True, False])
def test_a_correct_side_gives_the_same_rows_and_keeps_no_tensor(
    running: Running, oracle: bool
) -> None:
    folder = running.write(oracle=oracle)
    numbers, tensors = running.compare()
    assert numbers == tensors
    assert numbers.verdict == "pass"
    assert not list(folder.glob("*.safetensors"))


def _nan(sides: Sides) -> None:
    sides.new[FAILING][3, 1, 2] = float("nan")
    sides.new_errors[FAILING] = NOT_FINITE


def _infinite_and_unpaired(sides: Sides) -> None:
    sides.new["blocks.1.attn.proj"] = torch.full((24, 32), float("inf"))
    sides.new_errors["blocks.1.attn.proj"] = NOT_FINITE


def _shape(sides: Sides) -> None:
    sides.new[FAILING] = sides.new[FAILING][:-1]


def _missing(sides: Sides) -> None:
    del sides.new[FAILING]


def _extra(sides: Sides) -> None:
    sides.new["blocks.1.attn.proj"] = torch.randn(24, 32)


def _wrong(sides: Sides) -> None:
    sides.new[FAILING][3] *= -1


def _integer(sides: Sides) -> None:
    sides.new["attn.seqlens"][1] += 1


def _unusable(sides: Sides) -> None:
    sides.new_errors[FAILING] = "padded lanes are not zero"


def _oracle_alone(sides: Sides) -> None:
    exact = sides.oracle[FAILING]
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    sides.new[FAILING] = (exact * (1 + 3e-6 * noise)).float()


def _equal(sides: Sides) -> None:
    sides.new = {name: tensor.clone() for name, tensor in sides.old.items()}


@pytest.mark.parametrize(
    "change",
    [
        _nan,
        _shape,
        _missing,
        _extra,
        _wrong,
        _integer,
        _unusable,
        _oracle_alone,
        _equal,
    ],
)
def test_whatever_happens_gives_the_same_comparison(
    running: Running, change: Callable[[Sides], None]
) -> None:
    change(running.sides)
    running.write()
    numbers, tensors = running.compare()
    assert numbers == tensors
    assert (numbers.verdict == "pass") == (change is _equal)


def test_the_tensor_of_a_failing_row_alone_is_kept(running: Running) -> None:
    _wrong(running.sides)
    wrong = running.sides.new[FAILING].clone()
    trace = TraceReader(running.write())
    assert trace.records[4].hook_point == FAILING
    assert len(trace.measured) == len(trace.records) - 1
    assert torch.equal(trace.read(FAILING), wrong)
    numbers, tensors = running.compare()
    assert numbers.token_maps == tensors.token_maps != ()
    with pytest.raises(MmparityError, match="no tensor of merger"):
        trace.read("merger")


def test_without_its_oracle_the_rows_are_those_of_no_oracle(running: Running) -> None:
    running.write(oracle=True)
    running.oracle = None
    numbers, tensors = running.compare()
    assert numbers == tensors


def test_another_old_is_refused(running: Running) -> None:
    running.write()
    running.sides.old = running.sides.noisy(9, torch.float32)
    old = TraceReader(running.sides.write()[0])
    with pytest.raises(MmparityError, match=r"another trace.*again with --ag"):
        compare_traces(old, TraceReader(running.folder), running.oracle)


def test_an_oracle_that_was_not_given_to_the_capture_is_refused(
    running: Running,
) -> None:
    running.write(oracle=False)
    exact = TraceReader(running.sides.root / "oracle")
    with pytest.raises(MmparityError, match="capture again with --oracle"):
        compare_traces(running.old, TraceReader(running.folder), exact)


def test_what_has_no_tensors_is_no_old_and_no_oracle(running: Running) -> None:
    folder = running.write()
    numbers = TraceReader(folder)
    with pytest.raises(MmparityError, match="cannot be old"):
        compare_traces(numbers, running.stored, None)
    with pytest.raises(MmparityError, match="Capture it without --against"):
        ComparingWriter(folder / "next", running.sides.new_meta, numbers)


@pytest.mark.parametrize("field", ["pixels_digest", "weights_digest", "depth"])
def test_another_computation_is_refused_before_it_runs(
    running: Running, field: str
) -> None:
    old = TraceReader(running.sides.write()[0])
    meta = replace(running.sides.new_meta, **{field: 7 if field == "depth" else "x"})
    with pytest.raises(MmparityError, match="not traces of the same computation"):
        ComparingWriter(running.folder, meta, old)


def test_old_is_not_overwritten(running: Running) -> None:
    old = running.sides.write()[0]
    with pytest.raises(MmparityError, match="is where this capture goes"):
        ComparingWriter(old, running.sides.old_meta, TraceReader(old))
    TraceReader(old).read("merger")


def test_an_old_tensor_that_was_changed_ends_the_capture(running: Running) -> None:
    file = running.sides.write()[0] / "00001.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    old = TraceReader(file.parent)
    with (
        pytest.raises(MmparityError, match="does not have the digest"),
        ComparingWriter(running.folder, running.sides.new_meta, old) as writer,
    ):
        for name, tensor in running.sides.new.items():
            writer.add(name, tensor, name)
    with pytest.raises(MmparityError, match="interrupted"):
        TraceReader(running.folder)


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "NaN": lambda row: row["metrics"].update(max_token_error=float("nan")),
    "infinite": lambda row: row["metrics"].update(old_max_abs=float("inf")),
    "negative": lambda row: row["metrics"].update(normalized_l2_error=-1.0),
    "text": lambda row: row["metrics"].update(normalized_l2_error="small"),
    "missing": lambda row: row["metrics"].pop("normalized_l2_error"),
    "numel": lambda row: row["metrics"].update(numel=3),
    "index": lambda row: row["metrics"].update(worst_index=[99, 0]),
    "dimensions": lambda row: row["metrics"].update(worst_index=[0]),
    "token": lambda row: row["metrics"].update(max_token_error_index=24),
    "cosine": lambda row: row["metrics"].update(cosine_similarity=1.5),
    "bits": lambda row: row["metrics"].update(bit_equal=True),
    "no oracle": lambda row: row["metrics"].update(new_oracle_error=None),
    "oracle's digest": lambda row: row.update(oracle_digest=None),
    "unknown name": lambda row: row.update(hook_point="blocks.7"),
    "second time": lambda row: row.update(hook_point="merger"),
}


@pytest.mark.parametrize("lie", LIES)
def test_numbers_that_cannot_be_are_refused(running: Running, lie: str) -> None:
    folder = running.write()

    def change(manifest: dict[str, Any]) -> None:
        row = next(r for r in manifest["measured"] if r["hook_point"] == "blocks.0")
        LIES[lie](row)

    edit(folder, change)
    with pytest.raises(MmparityError, match=r"trace\.json: measured"):
        TraceReader(folder)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "trace.json").read_text())
    change(manifest)
    (folder / "trace.json").write_text(json.dumps(manifest))


def test_the_verdict_is_made_of_the_numbers_again(running: Running) -> None:
    folder = running.write()

    def change(manifest: dict[str, Any]) -> None:
        row = next(r for r in manifest["measured"] if r["hook_point"] == FAILING)
        row["metrics"]["max_token_error"] = 1.0

    edit(folder, change)
    numbers = compare_traces(running.old, TraceReader(folder), running.oracle)
    failing = [row for row in numbers.layers if row.verdict == "fail"]
    assert [row.hook_point for row in failing] == [FAILING]
    assert failing[0].exceeded == "max_token_error"
    assert numbers.token_maps == ()


def test_a_row_without_numbers_and_tensor_is_refused(running: Running) -> None:
    folder = running.write()
    edit(folder, lambda manifest: manifest["measured"].pop())
    with pytest.raises(MmparityError, match="not in the list of files"):
        TraceReader(folder)


def test_an_older_reader_is_told_by_the_version(running: Running) -> None:
    folder = running.write()
    assert json.loads((folder / "trace.json").read_text())["trace_version"] == 3
    edit(folder, lambda manifest: manifest.update(trace_version=2))
    with pytest.raises(MmparityError, match="version"):
        TraceReader(folder)


@pytest.fixture
def job(running: Running) -> Job:
    """A capture that was compared with old while it ran, and is done."""
    item = CaptureJob("image", "", "float32", str(running.write(oracle=False)))
    return Job("new", {}, "", (item,), resume=True)


def left(job: Job, running: Running) -> int:
    return len(without_finished(job, lambda item: running.sides.new_meta)[0].captures)


def test_a_done_capture_is_kept_for_the_same_old_only(
    job: Job, running: Running
) -> None:
    root = running.sides.root
    asked = with_against(job, root / "old", None)
    assert left(asked, running) == 0
    assert left(job, running) == 1, "its tensors are asked for"
    assert left(with_against(job, root / "old", root / "oracle"), running) == 1
    running.sides.old = running.sides.noisy(9, torch.float32)
    running.sides.write()
    assert left(asked, running) == 1


def test_an_old_without_the_case_or_the_dtype_is_refused(
    job: Job, running: Running
) -> None:
    other = replace(job, captures=(replace(job.captures[0], dtype="bfloat16"),))
    with pytest.raises(MmparityError, match="no trace of image in bfloat16; it has im"):
        with_against(other, running.sides.root / "old", None)
    with pytest.raises(MmparityError, match="leave --tp out"):
        with_against(replace(job, tp=2), running.sides.root / "old", None)
