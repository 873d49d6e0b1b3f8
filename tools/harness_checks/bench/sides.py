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

from mmparity.processes import started, tail_of
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import find_trees

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Environment of workers: memory that is freed stays with them, as it does with the
TCMalloc of vLLM's CPU images and on a device. How much of it glibc gives back, only to
have it mapped anew, is another draw in each process: up to a seventh of a forward."""


class Side:
    """A worker with its encoder."""

    def __init__(self, process: subprocess.Popen[str], name: str, log: Path) -> None:
        self.process, self.name, self.log = process, name, log

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer; a worker that died ends the benchmark with its log."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.name} ended early:\n{tail_of(self.log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def side(settings: dict[str, Any], folder: Path) -> Iterator[Side]:
    """A worker that is ready, ended at the end of the ``with``."""
    name = settings["implementation"]
    job, log = folder / f"{name}.json", folder / f"{name}.log"
    job.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "harness_checks.bench.worker", str(job)]
    process = started(command, log, os.environ | ALLOCATOR)
    try:
        yield Side(process, name, log)
    finally:
        process.end()


@dataclass(frozen=True)
class Setting:
    """What the workers of a measurement have in common."""

    dtype: str
    checkpoint: Path
    threads: int
    folder: Path
    device: str = "cpu"


@contextmanager
def sides(names: Sequence[str], setting: Setting) -> Iterator[list[Side]]:
    """A worker for each of the implementations, started in this order."""
    trees = find_trees(names, (), IMPLEMENTATIONS)
    common = {
        "checkpoint": str(setting.checkpoint.resolve()),
        "dtype": setting.dtype,
        "threads": setting.threads,
        "device": setting.device,
    }
    each = [{**common, "implementation": n, "trees": trees[n]} for n in names]
    with ExitStack() as stack:
        yield [stack.enter_context(side(one, setting.folder)) for one in each]
