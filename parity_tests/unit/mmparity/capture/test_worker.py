# SPDX-License-Identifier: Apache-2.0
"""The worker's answers when it cannot run: one event that the user can act on."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmparity.capture.job import EXIT_ERROR, GO, CaptureJob, Event, Job
from mmparity.capture.trace_meta import tree_id
from mmparity.capture.worker import _error_event
from mmparity.capture.worker_process import WORKER, warm_workers
from mmparity.processes import Starter
from mmparity.workload.seeded import seeded_checkpoint


@pytest.fixture(scope="module")
def job(checkpoints: Path) -> Job:
    checkpoint = seeded_checkpoint(checkpoints, depth=2)
    capture = CaptureJob("image", "absent.safetensors", "float32", "out")
    return Job("vllm-0.12.0", {"vllm": "absent"}, str(checkpoint), (capture,))


def answers_of(job: Job, tmp_path: Path, starter: Starter) -> list[Event]:
    """All that a worker says until it ends with an error that a user can mend."""
    file, log = tmp_path / "job.json", tmp_path / "log"
    job.write(file)
    process = starter.start([str(file)], log, {})
    assert process.stdin and process.stdout
    process.stdin.write(GO)
    process.stdin.flush()
    lines = process.stdout.readlines()
    code = process.wait()
    process.end()
    events = [event for event in map(Event.from_line, lines) if event]
    assert len(events) == len(lines), lines
    stderr = log.read_text()
    assert code == EXIT_ERROR
    assert (events[-1].event, events[-1].kind) == ("error", "input"), stderr
    assert "Traceback" not in stderr
    return events


def error_of(job: Job, tmp_path: Path, starter: Starter) -> str:
    return answers_of(job, tmp_path, starter)[-1].message or ""


def test_each_answer_says_when_it_was_given(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    before = time.monotonic()
    answers = answers_of(job, tmp_path, starter)
    at = [before, *(event.at or 0.0 for event in answers), time.monotonic()]
    assert at == sorted(at)


def test_a_missing_tree_is_named_with_the_command(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    message = error_of(job, tmp_path, starter)
    assert "vllm-0.12.0 needs vllm at absent" in message
    assert "make apply" in message


def test_a_tree_of_another_release_is_named(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    for package in ("vllm", "vllm/platforms"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    message = error_of(replace(job, trees={"vllm": str(tmp_path)}), tmp_path, starter)
    assert f"vllm-0.12.0 cannot be imported from {tmp_path}" in message


def test_a_checkpoint_without_a_file_is_named(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    assert "config.json" in error_of(
        replace(job, checkpoint=str(tmp_path)), tmp_path, starter
    )


def test_inputs_that_are_missing_are_named(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    capture = replace(job.captures[0], dtype="float64")
    given = replace(job, implementation="hf", trees={}, captures=(capture,))
    assert "absent.safetensors" in error_of(given, tmp_path, starter)


@pytest.mark.parametrize(
    ("implementation", "dtype"),
    [("hf", "int8"), ("vllm-0.12.0", "float64"), ("unified", "int8")],
)
def test_a_dtype_that_does_not_run_is_named(
    job: Job, tmp_path: Path, starter: Starter, implementation: str, dtype: str
) -> None:
    capture = replace(job.captures[0], dtype=dtype)
    given = replace(job, implementation=implementation, captures=(capture,))
    message = error_of(given, tmp_path, starter)
    assert f"{implementation} does not run in {dtype!r}" in message


def test_an_unknown_implementation_is_named(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    message = error_of(replace(job, implementation="vllm-0.12"), tmp_path, starter)
    assert "Closest: 'vllm-0.12.0'" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_named(
    job: Job, tmp_path: Path, starter: Starter
) -> None:
    assert "--device cuda" in error_of(replace(job, device="cuda"), tmp_path, starter)
    message = error_of(replace(job, device="npu"), tmp_path, starter)
    assert "torch_npu cannot be imported" in message


def test_too_little_memory_is_no_internal_error() -> None:
    text = (
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"
    )
    event = _error_event(RuntimeError(text))
    assert (event.kind, "--depth" in (event.message or "")) == ("input", True)
    assert _error_event(RuntimeError("shapes differ")).kind == "internal"


def test_a_tree_is_known_by_its_git_tree_and_its_changes(tmp_path: Path) -> None:
    assert tree_id(tmp_path) == "unversioned"
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.invalid",
    ]
    (tmp_path / "file").write_text("one\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    clean = tree_id(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("two\n")
    assert tree_id(tmp_path) == f"{clean}-modified"


@pytest.mark.parametrize("device", ["cuda", "npu"])
def test_workers_of_an_accelerator_are_no_forks(device: str) -> None:
    with warm_workers(device) as starter:
        assert starter is WORKER
