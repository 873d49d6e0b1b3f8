# SPDX-License-Identifier: Apache-2.0
"""``python -m mmparity.bench``: each new encoder over the old one, as ratios."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mmparity.implementations import IMPLEMENTATIONS
from mmparity.plan import find_trees
from mmparity.seeded import seeded_checkpoint

GRIDS: dict[str, list[list[int]]] = {
    "one image, 48x48": [[1, 48, 48]],
    "one image, 96x96": [[1, 96, 96]],
    "32 images, 12x16": [[1, 12, 16]] * 32,
}
PAIRS = (
    ("vllm-0.12.0", "unified"),
    ("ascend-0.11.0", "unified-ascend"),
    ("ascend-0.12.0rc1", "unified-ascend"),
)
CHECKPOINTS = Path("build/parity/checkpoints")


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
            tail = "".join(self.log.read_text().splitlines(True)[-15:])
            raise click.ClickException(f"{self.name} ended early:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(settings: dict[str, Any], folder: Path) -> Iterator[Side]:
    """A worker that is ready, ended at the end of the ``with``."""
    name = settings["implementation"]
    job, log = folder / f"{name}.json", folder / f"{name}.log"
    job.write_text(json.dumps(settings))
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "mmparity.bench.worker", str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    side = Side(process, name, log)
    try:
        side.answer()
        yield side
    finally:
        process.kill()
        process.wait()


def compare(old: Side, new: Side, grid: list[list[int]], repeats: int) -> list[float]:
    """Minimum of the seconds of both sides, asked in turn."""
    best = [float("inf")] * 2
    for _ in range(repeats):
        for number, side in enumerate((old, new)):
            seconds = side.ask(ask="time", grid=grid)["seconds"]
            best[number] = min(best[number], seconds)
    return best


@click.command(context_settings={"max_content_width": 88})
@click.option("--dtype", "dtypes", multiple=True, default=("bfloat16", "float32"))
@click.option("--depth", default=8, show_default=True, help="Blocks.")
@click.option("--repeats", default=7, show_default=True, help="Minimum of so many.")
@click.option("--threads", default=2, show_default=True)
@click.option("--only", default="", help="Pairs with this in their names.")
def main(
    dtypes: tuple[str, ...],
    depth: int,
    repeats: int,
    threads: int,
    only: str,
) -> None:
    """Time each unified encoder against the one that it replaces.

    Qwen2.5-VL-7B's vision tower with seeded weights. The Ascend pairs run with
    emulated operators, so only what is around them can be compared.
    """
    console = Console()
    weights = seeded_checkpoint(CHECKPOINTS, depth=depth)
    table = Table("pair", "dtype", "input", "old s", "new s", "new / old", "dispatches")
    with tempfile.TemporaryDirectory(prefix="mmparity-bench-") as folder:
        pairs = [pair for pair in PAIRS if only in ":".join(pair)]
        for old, new in pairs:
            for dtype in dtypes:
                for row in _pair(
                    old, new, dtype, weights, Path(folder), repeats, threads
                ):
                    table.add_row(*row)
                    console.print("  ".join(row))
    console.print(table)


def _pair(
    old: str,
    new: str,
    dtype: str,
    weights: Path,
    folder: Path,
    repeats: int,
    threads: int,
) -> Iterator[tuple[str, ...]]:
    trees = find_trees((old, new), (), IMPLEMENTATIONS)
    with ExitStack() as stack:
        sides = []
        for name in (old, new):
            settings = {
                "implementation": name,
                "trees": trees[name],
                "checkpoint": str(weights.resolve()),
                "dtype": dtype,
                "threads": threads,
            }
            sides.append(stack.enter_context(started(settings, folder)))
        for title, grid in GRIDS.items():
            calls = [
                sum(s.ask(ask="count", grid=grid)["calls"].values()) for s in sides
            ]
            seconds = compare(sides[0], sides[1], grid, repeats)
            yield (
                f"{new} / {old}",
                dtype,
                title,
                f"{seconds[0]:.3f}",
                f"{seconds[1]:.3f}",
                f"{seconds[1] / seconds[0]:.3f}",
                f"{calls[0]} -> {calls[1]}",
            )


if __name__ == "__main__":
    main()
