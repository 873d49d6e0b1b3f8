# SPDX-License-Identifier: Apache-2.0
"""What one task of a Ray cluster does on its node, and what it hands back."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmparity.capture.job import CaptureJob, Event, Job
from mmparity.capture.worker_process import WORKER, run_worker
from mmparity.errors import MmparityError
from mmparity.processes import Command
from mmparity.run.settings import MachineSettings, settings_of


@dataclass(frozen=True)
class NodeTask:
    """What one task does; everything in it travels to the node."""

    job: Job
    inputs: dict[str, bytes]
    """Path here -> content."""
    token: str
    """A file in the run's folder; a node that reads ``secret`` there shares it."""
    secret: str
    environment: dict[str, str | None]
    command: Command | None
    """None: the worker, with the node's own Python."""


@dataclass
class TaskResult:
    """What one task hands back."""

    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0
    log: str = ""
    error: str | None = None
    settings: MachineSettings | None = None
    """What of the node may change the bits of a forward."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path here -> content; empty where the folder is shared."""


def run_part(part: NodeTask) -> TaskResult:
    """Runs on a node: the part's job, in a worker process."""
    for name, value in part.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    outcome, started = TaskResult(settings=settings_of(part.job)), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mmparity-ray-") as name:
        folder = Path(name)
        shared = reads(Path(part.token)) == part.secret
        job = part.job if shared else _moved(part, folder)
        log = folder / "worker.log"
        try:
            command = part.command or WORKER
            run_worker(job, folder / "job.json", log, outcome.events.append, command)
        except MmparityError as error:
            outcome.error = str(error).replace(str(log), "its log")
        outcome.log = reads(log)
        if not shared:
            for here, there in zip(part.job.captures, job.captures, strict=True):
                for file in Path(there.out).glob("*"):
                    outcome.files[str(Path(here.out) / file.name)] = file.read_bytes()
    outcome.seconds = time.monotonic() - started
    return outcome


def reads(file: Path) -> str:
    """The text of a file; empty where there is none."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _moved(part: NodeTask, folder: Path) -> Job:
    """The job with its inputs and its traces in ``folder``."""
    captures: list[CaptureJob] = []
    for number, item in enumerate(part.job.captures):
        inputs = folder / f"{number}.safetensors"
        inputs.write_bytes(part.inputs[item.inputs])
        out = folder / f"trace{number}"
        captures.append(replace(item, inputs=str(inputs), out=str(out)))
    return replace(part.job, captures=tuple(captures), rank_logs=str(folder / "ranks"))
