# SPDX-License-Identifier: Apache-2.0
"""``python -m mmparity.bench``: each new encoder over the old one, as ratios."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from mmparity.bench import console
from mmparity.bench.targets import WINDOWS, Target, ratio, targets
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
    ("unified-ascend", "unified-ascend-weights"),
)
GROWING = ("vllm-0.12.0", "unified")
Say = Callable[[str], None]
CHECKPOINTS = Path("build/parity/checkpoints")
LOADS = 2
"""So often at least an encoder is loaded again, for the time that it takes."""
SECONDS = 20.0
"""So long at least the same questions are asked in turn."""


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
        yield side
    finally:
        process.kill()
        process.wait()


def interleaved(
    sides: Sequence[Side], asked: Sequence[dict[str, Any]], repeats: int
) -> list[float]:
    """Minimum of the seconds of each question, asked in turn.

    What is short is asked more often: a machine's moods last for some seconds.
    """
    best = [float("inf")] * len(asked)
    end = time.monotonic() + SECONDS
    while repeats > 0 or time.monotonic() < end:
        repeats -= 1
        for number, (side, question) in enumerate(zip(sides, asked, strict=True)):
            best[number] = min(best[number], side.ask(**question)["seconds"])
    return best


def measure_pair(
    old: Side, new: Side, titles: Sequence[str], repeats: int, say: Say
) -> dict[str, Any]:
    """Everything about two loaded encoders, in one run and in turn."""
    loads = [side.ask(ask="load") for side in (old, new)]
    load = {"ask": "load"}
    result: dict[str, Any] = {
        "load_seconds": interleaved((old, new), [load, load], LOADS),
        "load_bytes": [one["bytes"] for one in loads],
        "inputs": [],
    }
    for title in titles:
        grid = GRIDS[title]
        counts = [side.ask(ask="count", grid=grid) for side in (old, new)]
        timed = {"ask": "time", "grid": grid}
        gemms = [{"ask": "gemms", "grid": grid}] if title == WINDOWS else []
        seconds = interleaved(
            (old, new, new)[: 2 + len(gemms)], [timed, timed, *gemms], repeats
        )
        result.setdefault("per_block", [one["per_block"] for one in counts])
        item = {
            "title": title,
            "seconds": seconds[:2],
            "gemm_seconds": seconds[2] if gemms else None,
            "calls": [one["calls"] for one in counts],
            "peak_bytes": [one["peak_bytes"] for one in counts],
        }
        result["inputs"].append(item)
        say(f"  {title}: {ratio(seconds[:2]):.3f} times the time")
    return result


@click.command(context_settings={"max_content_width": 88})
@click.option("--dtype", "dtypes", multiple=True, default=("bfloat16", "float32"))
@click.option("--depth", default=8, show_default=True, help="Blocks.")
@click.option(
    "--repeats", default=7, show_default=True, help="Minimum of at least so many."
)
@click.option("--threads", default=2, show_default=True)
@click.option("--only", default="", help="Pairs old:new with this in their names.")
@click.option("--sizes", default=1000, show_default=True, help="Image sizes kept?")
@click.option("--forwards", default=2000, show_default=True, help="Objects kept?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write it.")
def main(
    dtypes: tuple[str, ...],
    depth: int,
    repeats: int,
    threads: int,
    only: str,
    sizes: int,
    forwards: int,
    json_file: Path | None,
) -> None:
    """Measure each unified encoder against the one that it replaces.

    Qwen2.5-VL-7B's vision tower with seeded weights. The Ascend pairs run with
    emulated operators, so only what is around them can be compared. A figure over
    its target is said, and is no error.
    """
    screen = console()
    weights = seeded_checkpoint(CHECKPOINTS, depth=depth)
    pairs = [pair for pair in PAIRS if only in ":".join(pair)]
    measured, growth = [], None
    with tempfile.TemporaryDirectory(prefix="mmparity-bench-") as folder:
        for old, new in pairs:
            for dtype in dtypes:
                screen.print(f"{new} over {old}, {dtype}")
                with _sides((old, new), dtype, weights, threads, Path(folder)) as sides:
                    titles = list(GRIDS) if (old, new) == GROWING else [WINDOWS]
                    found = measure_pair(*sides, titles, repeats, screen.print)
                    measured.append({"old": old, "new": new, "dtype": dtype, **found})
                    if (old, new) == GROWING and growth is None and sizes:
                        growth = _growth(sides, sizes, forwards)
    wanted = targets(measured, growth)
    for table in (_table(measured), _target_table(wanted)):
        screen.print(table)
    if json_file:
        content = {"measured": measured, "growth": growth}
        json_file.write_text(json.dumps(content, indent=1) + "\n")


@contextmanager
def _sides(
    names: tuple[str, str], dtype: str, weights: Path, threads: int, folder: Path
) -> Iterator[tuple[Side, Side]]:
    trees = find_trees(names, (), IMPLEMENTATIONS)
    with ExitStack() as stack:
        sides: list[Side] = []
        for name in names:
            settings = {
                "implementation": name,
                "trees": trees[name],
                "checkpoint": str(weights.resolve()),
                "dtype": dtype,
                "threads": threads,
            }
            sides.append(stack.enter_context(started(settings, folder)))
        old, new = sides
        yield old, new


def _growth(sides: tuple[Side, Side], sizes: int, forwards: int) -> dict[str, Any]:
    question = {"ask": "growth", "sizes": sizes, "forwards": forwards}
    old, new = (side.ask(**question) for side in sides)
    return {"sizes": sizes, "forwards": forwards, "old": old, "new": new}


def _table(measured: list[dict[str, Any]]) -> Table:
    table = Table(
        *("new / old", "dtype", "input", "old s", "new s", "ratio", "over GEMMs"),
        *("dispatches", "peak MiB", "per block: reads, pads, cats"),
    )
    for one in measured:
        blocks = [
            " ".join(f"{value:g}" for value in side.values())
            for side in one["per_block"]
        ]
        for item in one["inputs"]:
            seconds, calls = item["seconds"], item["calls"]
            peak = [value / 2**20 for value in item["peak_bytes"]]
            table.add_row(
                f"{one['new']} / {one['old']}",
                one["dtype"],
                item["title"],
                *(f"{value:.3f}" for value in seconds),
                f"{ratio(seconds):.3f}",
                f"{seconds[1] / item['gemm_seconds']:.2f}"
                if item["gemm_seconds"]
                else "",
                f"{calls[0]} -> {calls[1]}",
                f"{peak[0]:.0f} -> {peak[1]:.0f}",
                f"{blocks[0]} -> {blocks[1]}",
            )
    return table


def _target_table(wanted: Sequence[Target]) -> Table:
    met = sum(target.met for target in wanted)
    table = Table("target", "value", "at most", "", title=f"{met} of {len(wanted)} met")
    for target in wanted:
        word = "met" if target.met else "missed"
        table.add_row(target.what, f"{target.value:.4g}", f"{target.limit:g}", word)
    return table


if __name__ == "__main__":
    main()
