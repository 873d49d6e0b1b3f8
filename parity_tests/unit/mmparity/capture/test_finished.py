# SPDX-License-Identifier: Apache-2.0
"""What an interrupted job has done is kept only if it would come out the same again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmparity.capture.finished import without_finished
from mmparity.capture.job import CaptureJob, Job
from mmparity.types.trace import Counts, TraceMeta
from mmparity.workload.cases import Case, Noise
from mmparity.workload.inputs import read_inputs, write_inputs

if TYPE_CHECKING:
    from conftest import Sides


@pytest.fixture
def job(sides: Sides, tmp_path: Path) -> Job:
    """A job whose only capture is done."""
    case = Case("image", "noise", (Noise((1, 4, 6), 0),))
    inputs = write_inputs(case, tmp_path)
    digest = read_inputs(inputs).pixels_digest
    sides.old_meta = replace(sides.old_meta, pixels_digest=digest, sources={"a": "id"})
    item = CaptureJob("image", str(inputs), "float32", str(sides.write()[0]))
    return Job("old", {}, "", (item,), resume=True)


def left(job: Job, meta: TraceMeta) -> int:
    rest, done = without_finished(job, lambda item: meta)
    assert len(rest.captures) + len(done) == 1
    return len(rest.captures)


def test_a_whole_trace_of_the_same_computation_is_kept(job: Job, sides: Sides) -> None:
    assert left(job, sides.old_meta) == 0


@pytest.mark.parametrize(
    "now",
    [
        {"weights_digest": "other"},
        {"depth": 3},
        {"device": "npu"},
        {"versions": {"torch": "another"}},
        {"sources": {"a": "another"}},
        {"sources": {"a": "id-modified"}},
        {"tensor_parallel": 2},
    ],
    ids=lambda now: next(iter(now)),
)
def test_what_would_be_captured_otherwise_now_is_captured_again(
    job: Job, sides: Sides, now: dict[str, object]
) -> None:
    assert left(job, replace(sides.old_meta, **now)) == 1  # type: ignore[arg-type]


def test_a_trace_without_the_counts_that_are_wanted_is_captured_again(
    job: Job, sides: Sides
) -> None:
    counted = replace(job, captures=(replace(job.captures[0], counted=True),))
    assert left(counted, sides.old_meta) == 1
    sides.old_meta = replace(sides.old_meta, counts=Counts(1, 0, 0, 0, 1))
    sides.write()
    assert left(counted, sides.old_meta) == 0


def test_a_tree_with_changes_is_never_known_to_be_the_same(
    job: Job, sides: Sides
) -> None:
    sides.old_meta = replace(sides.old_meta, sources={"a": "id-modified"})
    sides.write()
    assert left(job, sides.old_meta) == 1


def _flip(folder: Path) -> None:
    file = folder / "00000.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda folder: (folder / "trace.json").unlink(),
        lambda folder: (folder / "trace.json").write_text("{"),
        lambda folder: (folder / "00001.safetensors").write_bytes(b""),
    ],
    ids=["flipped", "unfinished", "unreadable", "cut short"],
)
def test_a_trace_that_is_not_whole_is_captured_again(
    job: Job, sides: Sides, damage: Callable[[Path], object]
) -> None:
    damage(Path(job.captures[0].out))
    assert left(job, sides.old_meta) == 1
