# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.bench.stages``: seconds to a verdict, stage by stage.

Fixed runs of the commands, each held against its target. What is edited is a clone of
the patched tree, and what is cached is in a folder of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from harness_checks.bench import console
from harness_checks.bench.conditions import conditions
from harness_checks.bench.tables import shown
from harness_checks.command_line import run
from mmparity.compare.result import read_result
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.processes import Group, started, tail_of
from mmparity.project import ROOT
from mmparity.stored_json import plain, to_json
from mmparity.types.stages import STAGES

MMPARITY = (sys.executable, "-m", "mmparity")
PATCHED = ROOT / "vllm_src" / "patched" / "vllm-0.12.0"
EDITED = "vllm/model_executor/models/qwen2_5_vl.py"
ONE = ("--old", "vllm-0.12.0", "--new", "unified", "--case", "image", "--fast")
EDITS = 3
FILE = ROOT / "build" / "bench" / "stages.json"
TOO_LONG = 1200.0
SETTLED = 2.0
"""A person saves later than a watch says that it waits."""
HEAD = ("run", "target", "measured", "", *STAGES, "else")


@dataclass(frozen=True)
class TimedRun:
    """One run: wall seconds of the command, or from an edit to its verdict.

    Attributes:
        run: name of it in RUNS.
        command: what ran.
        target: seconds that it may take.
        seconds: that it took.
        stages: those of its result; what is missing to ``seconds`` is the start and the
            end of the command.
    """

    run: str
    command: str
    target: float
    seconds: float
    stages: dict[str, float]


class Scene:
    """A folder with a clone of the patched tree that can be edited, and a cache."""

    def __init__(self, folder: Path, patched: Path = PATCHED) -> None:
        self.folder, self.tree = folder, folder / "vllm"
        if not patched.is_dir():
            raise MmparityError(f"{patched} is not there: `make apply` makes it.")
        words = ["git", "clone", "--quiet", "--shared", str(patched), str(self.tree)]
        subprocess.run(words, check=True)

    def options(self) -> tuple[str, ...]:
        """One pair and one case of the clone, with the cache."""
        tree, cache = f"unified:vllm={self.tree}", self.folder / "cache"
        return (*ONE, "--tree", tree, "--cache", str(cache))

    def edit(self) -> None:
        """Changes the clone as git and a watch see it, and nothing that it computes."""
        with (self.tree / EDITED).open("a") as file:
            file.write("# edited\n")


def once(words: tuple[str, ...], folder: Path) -> tuple[float, dict[str, float]]:
    """Wall seconds of a command that makes a result, and its stages."""
    out = folder / "out"
    log = folder / "run.log"
    begun = time.perf_counter()
    process = started([*MMPARITY, *words, "--out", str(out)], log, os.environ)
    try:
        assert process.stdout is not None
        said = process.stdout.read()
        if process.wait():
            raise click.ClickException(f"mmparity {words[0]}:\n{said}{tail_of(log)}")
    finally:
        process.end()
    return time.perf_counter() - begun, stages_of(out)


def stages_of(out: Path) -> dict[str, float]:
    """The stages of the result in a folder."""
    found = read_result(out).stages
    return found.seconds if found else {}


def after_an_edit(folder: Path) -> tuple[float, dict[str, float]]:
    """One pair and one case, its old side and the oracle in the cache."""
    scene = Scene(folder)
    once(("run", *scene.options()), folder)
    scene.edit()
    return once(("run", *scene.options()), folder)


def in_a_watch(folder: Path) -> tuple[float, dict[str, float]]:
    """The same by a session with warm workers: the middle one of several edits."""
    scene = Scene(folder)
    found = []
    with watching(scene) as verdict:
        verdict()
        time.sleep(SETTLED)
        for _ in range(EDITS):
            begun = time.perf_counter()
            scene.edit()
            verdict()
            spent = time.perf_counter() - begun
            found.append((spent, stages_of(folder / "out")))
    middle = statistics.median_low([spent for spent, _ in found])
    return next(item for item in found if item[0] == middle)


@contextmanager
def watching(scene: Scene) -> Iterator[Callable[[], None]]:
    """A watch of a scene; gives what waits for its next verdict."""
    log = scene.folder / "watch.log"
    words = ["watch", *scene.options(), "--out", str(scene.folder / "out")]
    process = started([*MMPARITY, *words], log, os.environ, answers=False)
    seen = 0

    def verdict() -> None:
        nonlocal seen
        _wait(process, log, seen)
        seen += 1

    try:
        yield verdict
    finally:
        process.end()


def _wait(process: Group, log: Path, seen: int) -> None:
    deadline = time.monotonic() + TOO_LONG
    while log.read_text().count("waiting for edits") <= seen:
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException(f"mmparity watch:\n{tail_of(log)}")
        time.sleep(0.02)


def whole(*options: str) -> Callable[[Path], tuple[float, dict[str, float]]]:
    """A run with all its default cases."""
    return lambda folder: once(("run", *options), folder)


RUNS: dict[str, tuple[str, float, Callable[[Path], tuple[float, dict[str, float]]]]] = {
    "edit": (f"mmparity run {' '.join(ONE)} --cache", 20.0, after_an_edit),
    "watch": (f"mmparity watch {' '.join(ONE)}", 8.0, in_a_watch),
    "fast": ("mmparity run --fast", 75.0, whole("--fast")),
    "default": ("mmparity run", 240.0, whole()),
}
"""Name -> its command, the seconds that it may take, and what measures it."""


@click.command(context_settings={"max_content_width": 88})
@click.option(
    "--run",
    "names",
    multiple=True,
    type=click.Choice(list(RUNS)),
    default=("edit", "watch", "fast"),
    show_default=True,
    help="Which runs.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=FILE)
def main(names: tuple[str, ...], json_file: Path) -> None:
    """Measure the seconds to a verdict, and print them beside their targets.

    edit: one pair and one case after an edit of a patched tree, the old side cached.
    watch: the same in a session with warm workers. fast, default: all default cases
    of all pairs, with 4 blocks and with 32.

    \b
    python -m harness_checks.bench.stages
    python -m harness_checks.bench.stages --run default
    """
    screen = console()
    given = conditions("harness_checks.bench.stages", ("torch", "transformers"))
    measured = []
    for name in names:
        command, target, measure = RUNS[name]
        screen.print(f"{name}: {command}")
        json_file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=json_file.parent) as folder:
            seconds, stages = measure(Path(folder))
        screen.print(f"  {seconds:.1f} s, target {target:.0f} s")
        measured.append(TimedRun(name, command, target, round(seconds, 2), stages))
        write_text(json_file, to_json({**plain(given), "runs": measured}))
    screen.print(shown(HEAD, map(row, measured)))


def row(item: TimedRun) -> tuple[str, ...]:
    """Target and measured side by side, and where the seconds went."""
    stages = (f"{item.stages[n]:.1f}" if n in item.stages else "" for n in STAGES)
    return (
        item.run,
        f"{item.target:.0f} s",
        f"{item.seconds:.1f} s",
        "met" if item.seconds <= item.target else "missed",
        *stages,
        f"{item.seconds - sum(item.stages.values()):.1f}",
    )


if __name__ == "__main__":
    run(main)
