# SPDX-License-Identifier: Apache-2.0
"""Workers with an encoder each, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness_checks.bench.costs import WorkerSettings
from mmparity.processes import started, tail_of
from mmparity.stored_json import to_json
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import find_trees

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Environment of workers: memory that is freed stays with them, as it does with the
TCMalloc of vLLM's CPU images and on a device. How much of it glibc gives back, only to
have it mapped anew, is another draw in each process: up to a seventh of a forward."""


class SideWorker:
    """A worker with its encoder."""

    def __init__(self, process: subprocess.Popen[str], name: str, log: Path) -> None:
        self.process, self.name, self.log = process, name, log

    def ask(self, **request: Any) -> Any:
        """Sends a request and waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next answer; a worker that died ends the benchmark with its log."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.name} ended early:\n{tail_of(self.log)}")
        return json.loads(line)


@contextmanager
def side(settings: WorkerSettings, folder: Path) -> Iterator[SideWorker]:
    """A worker that is ready, ended at the end of the ``with``."""
    name = settings.implementation
    job, log = folder / f"{name}.json", folder / f"{name}.log"
    job.write_text(to_json(settings))
    command = [sys.executable, "-m", "harness_checks.bench.worker", str(job)]
    process = started(command, log, os.environ | ALLOCATOR)
    try:
        yield SideWorker(process, name, log)
    finally:
        process.end()


@dataclass(frozen=True)
class Setting:
    """What the workers of a measurement have in common.

    Attributes:
        seconds: that a pair of processes is asked the same questions at least.
    """

    dtype: str
    checkpoint: Path
    threads: int
    folder: Path
    device: str = "cpu"
    seconds: float = 8.0


@contextmanager
def sides(names: Sequence[str], setting: Setting) -> Iterator[list[SideWorker]]:
    """A worker for each of the implementations, started in this order."""
    trees = find_trees(names, (), IMPLEMENTATIONS)
    common = (
        *(str(setting.checkpoint.resolve()), setting.dtype),
        *(setting.threads, setting.device),
    )
    each = [WorkerSettings(name, trees[name], *common) for name in names]
    with ExitStack() as stack:
        yield [stack.enter_context(side(one, setting.folder)) for one in each]
