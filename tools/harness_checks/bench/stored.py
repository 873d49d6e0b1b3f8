# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.bench.stored``: what comparing two stored traces costs.

Traces of transformers' tower in bfloat16, with all hook points, compared in a process
of their own as ``mmparity compare`` does it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import torch
from rich.table import Table

from harness_checks.bench import console, stored_msprobe
from harness_checks.bench.capture import CHECKPOINTS, Peak, seconds_of, tower, trace
from harness_checks.bench.costs import StoredCost
from harness_checks.command_line import run
from mmparity.compare.case import compare_traces
from mmparity.encoders import Encoder
from mmparity.files import write_text
from mmparity.stored_json import plain, to_json
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison
from mmparity.workload.seeded import seeded_checkpoint

SIDES = ("old", "new")
SECONDS, MIB, TENSORS = 8, 256, 361
"""The most that comparing at least so many tensors may take."""


def _write_old(encoder: Encoder, forward: Callable[[], None], folder: Path) -> None:
    """Old's trace, with first weights that differ in their last digit.

    No later tensor has the same bits then on both sides.
    """
    weights = next(encoder.model.parameters())
    kept = weights.clone()
    weights.mul_(1.003)
    with trace(encoder, folder / SIDES[0]):
        forward()
    weights.copy_(kept)


def make(folder: Path, depth: int | None, side: int) -> None:
    """Writes both traces into the folder."""
    encoder, forward = tower(seeded_checkpoint(CHECKPOINTS, depth=depth), side)
    with torch.inference_mode():
        _write_old(encoder, forward, folder)
        with trace(encoder, folder / SIDES[1]):
            forward()


def compare(folder: Path, repeats: int) -> StoredCost:
    """Seconds of each comparison, the most extra memory, and what was compared."""
    seconds, extra = [], 0
    found: list[CaseComparison] = []

    def once() -> None:
        old, new = (TraceReader(folder / name) for name in SIDES)
        found.append(compare_traces(old, new, None))

    for _ in range(repeats):
        with Peak() as peak:
            seconds.append(seconds_of(once))
        extra = max(extra, peak.extra)
    rows = [layer.metrics for layer in found[-1].layers]
    files = folder.rglob("*.safetensors")
    return StoredCost(
        seconds=seconds,
        extra_bytes=extra,
        rows=len(rows),
        differing=sum(one is not None and not one.bit_equal for one in rows),
        bytes=sum(file.stat().st_size for file in files) // len(SIDES),
    )


@click.command(context_settings={"max_content_width": 88})
@click.option("--depth", type=int, help="Blocks; all 32 where not given.")
@click.option("--side", default=28, show_default=True, help="Patches along a side.")
@click.option("--repeats", default=3, show_default=True, help="Minimum of so many.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write it.")
@click.option("--make", "made", type=click.Path(path_type=Path), hidden=True)
@click.option("--compare", "given", type=click.Path(path_type=Path), hidden=True)
def main(
    depth: int | None,
    side: int,
    repeats: int,
    json_file: Path | None,
    made: Path | None,
    given: Path | None,
) -> None:
    """Measure what comparing two stored traces costs.

    \b
    python -m harness_checks.bench.stored
    python -m harness_checks.bench.stored --depth 4
    """
    if made is not None:
        make(made, depth, side)
        return
    if given is not None:
        click.echo(json.dumps(plain(compare(given, repeats))))
        return
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    cut = [] if depth is None else ["--depth", str(depth)]
    with tempfile.TemporaryDirectory(dir=CHECKPOINTS) as folder:
        _run("--make", folder, "--side", str(side), *cut)
        said = _run("--compare", folder, "--repeats", str(repeats))
    found = StoredCost(**json.loads(said.splitlines()[-1]))
    click.echo(stored_msprobe.TITLE, err=True)
    said = _run("--side", str(side), *cut, module=stored_msprobe.__name__)
    peer = StoredCost(**json.loads(said.splitlines()[-1]))
    console().print(table(found, peer))
    if json_file:
        write_text(json_file, to_json({**plain(found), "msprobe": peer}))


def _run(*options: str, module: str = "harness_checks.bench.stored") -> str:
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(
            f"{module} {options[0]} ended with exit status {done.returncode}."
        )
    return done.stdout


def table(found: StoredCost, peer: StoredCost | None = None) -> Table:
    """The figures, and whether they keep to the target."""
    shown = Table("two stored traces", "rows", "differ", "MiB a side", "s", "MiB", "")
    seconds, extra = min(found.seconds), found.extra_bytes / 2**20
    verdict = f"target is for {TENSORS} rows"
    if found.rows >= TENSORS:
        met = seconds <= SECONDS and extra <= MIB
        verdict = f"{'met' if met else 'missed'}: {SECONDS} s, {MIB} MiB"
    shown.add_row(
        "mmparity: all metrics",
        *(str(found.rows), str(found.differing)),
        f"{found.bytes / 2**20:.0f}",
        f"{seconds:.2f}",
        f"{extra:.0f}",
        verdict,
    )
    if peer is not None:
        shown.add_row(stored_msprobe.TITLE, *_of_peer(peer))
    return shown


def _of_peer(peer: StoredCost) -> tuple[str, ...]:
    if peer.missing:
        return ("", "", "", "", "", peer.missing)
    mib = [f"{value / 2**20:.0f}" for value in (peer.bytes, peer.extra_bytes)]
    return (str(peer.rows), "", mib[0], f"{peer.seconds[0]:.2f}", mib[1], "")


if __name__ == "__main__":
    run(main)
