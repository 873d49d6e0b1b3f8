# SPDX-License-Identifier: Apache-2.0
"""msprobe's comparison of two of its own dumps, for ``harness_checks.bench.stored``."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import torch

from harness_checks.bench.capture import CHECKPOINTS, seconds_of, tower
from harness_checks.bench.costs import StoredCost
from harness_checks.mutants.peers import msprobe
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS
from mmparity.stored_json import plain
from mmparity.workload.seeded import seeded_checkpoint

TITLE = "msprobe compare, L0 tensor dumps (largest process, one run)"
SIDES = ("target", "golden")
PEERS = EXTRAS / "peers"


def make(folder: Path, depth: int | None, side: int) -> None:
    """Dumps two forwards of one tower, tensors at level L0."""
    encoder, forward = tower(seeded_checkpoint(CHECKPOINTS, depth=depth), side)
    with torch.inference_mode():
        for name in SIDES:
            with msprobe.dump("tensor", encoder, folder / name):
                forward()


def compare(folder: Path) -> StoredCost:
    """Seconds of one comparison, the largest process of it, and its rows."""
    indexes = [str(next((folder / name).rglob("dump.json"))) for name in SIDES]
    out = folder / "compared"
    command = [sys.executable, str(PEERS / "bin" / "msprobe"), "compare"]
    command += ["-tp", indexes[0], "-gp", indexes[1], "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(PEERS)}

    def once() -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise MmparityError(f"it ended with {done.returncode}:\n{tail}")

    seconds = seconds_of(once)
    with next(out.rglob("*.csv")).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    data = [f for name in SIDES for f in (folder / name).rglob("*") if f.is_file()]
    return StoredCost(
        seconds=[seconds],
        extra_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        rows=len(rows),
        bytes=sum(file.stat().st_size for file in data) // len(SIDES),
    )


@click.command()
@click.option("--depth", type=int)
@click.option("--side", default=28)
def main(depth: int | None, side: int) -> None:
    """Prints the figures, or why there are none."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CHECKPOINTS) as folder:
        try:
            make(Path(folder), depth, side)
            found = compare(Path(folder))
        except MmparityError as error:
            found = StoredCost(missing=str(error))
    click.echo(json.dumps(plain(found)))


if __name__ == "__main__":
    main()
