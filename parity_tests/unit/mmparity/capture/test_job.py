# SPDX-License-Identifier: Apache-2.0
"""Jobs and events survive the way between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.errors import MmparityError


def test_job_round_trip(tmp_path: Path) -> None:
    capture = CaptureJob("image", "in.safetensors", "bfloat16", "out")
    job = Job("unified", {"vllm": "x"}, "ckpt", (capture,), depth=4, threads=2)
    job.write(tmp_path / "jobs" / "job.json")
    assert Job.read(tmp_path / "jobs" / "job.json") == job


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"captures": [{"x": 1}]}'])
def test_foreign_job_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(MmparityError, match="is not a job file"):
        Job.read(tmp_path / "job.json")


def test_event_round_trip_on_one_line() -> None:
    event = Event("error", kind="input", message="two\nlines")
    assert "\n" not in event.to_line()
    assert Event.from_line(event.to_line()) == event


@pytest.mark.parametrize("line", ["", "loading model", "3", '{"a": 1}', '{"event'])
def test_line_that_is_no_event_is_none(line: str) -> None:
    assert Event.from_line(line) is None
