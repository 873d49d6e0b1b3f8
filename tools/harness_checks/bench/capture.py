# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.bench.capture``: what recording costs, beside peers.

Each mode has its own process: transformers' tower in bfloat16, warmed up, and the
recorder's code loaded; then the plain and the recorded forward in turn. What counts is
the ratio of the minima, and the most resident memory above that before a recording.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click
import torch

from harness_checks.bench import console
from harness_checks.bench.capture_table import HEAD, markdown, rows, write_docs
from harness_checks.bench.conditions import conditions
from harness_checks.bench.costs import Conditions, RecordingCost
from harness_checks.bench.peers import PEERS
from harness_checks.bench.tables import shown
from harness_checks.command_line import run
from mmparity import encoders
from mmparity.capture.recorder import capturing
from mmparity.capture.statistics_writer import StatisticsWriter
from mmparity.compare.metrics import metrics
from mmparity.compare.metrics.sketch import COLUMNS, Statistician
from mmparity.encoders import Encoder
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.stored_json import plain, read_json, to_json, validated
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
from mmparity.workload import checkpoint, models
from mmparity.workload.implementations import get
from mmparity.workload.seeded import seeded_checkpoint

CHECKPOINTS = Path("build/parity/checkpoints")
WARM_UP = 2
Recording = Callable[[Encoder, Path], AbstractContextManager[Any]]


def tower(path: Path, side: int) -> tuple[Encoder, Callable[[], None]]:
    """transformers' tower with its weights in memory, and a forward of one image."""
    config = copy.deepcopy(checkpoint.read_vision_config(path))
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = checkpoint.tower_class(config)(config)
    weights = {name: w.clone() for name, w in checkpoint.vision_weights(path, config)}
    model.load_state_dict(weights, strict=True, assign=True)
    # Its buffer is not in the checkpoint, and was not computed on "meta".
    rotary = type(model.rotary_pos_emb)
    model.rotary_pos_emb = rotary(models.head_size(config) // 2)
    model.requires_grad_(False).eval().to(torch.bfloat16)
    grid = torch.tensor([[1, side, side]])
    width = 3 * config.temporal_patch_size * config.patch_size**2
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(side * side, width, generator=generator).bfloat16()
    encoder = Encoder(
        model=model,
        hook_map=encoders.hook_map_of(get("hf"), config),
        forward=lambda pixel_values, grid_thw: model(pixel_values, grid_thw),
        hyper_parameters=encoders.describe(model, config, backend="sdpa"),
    )
    return encoder, lambda: encoder.forward(pixels, grid)


def meta_of(encoder: Encoder) -> TraceMeta:
    """Of a trace of the tower at hand."""
    depth = len(encoder.model.blocks)  # type: ignore[arg-type]
    return TraceMeta("hf", "bench", "bfloat16", "cpu", "", "", (), depth)


@contextmanager
def trace(encoder: Encoder, folder: Path) -> Iterator[None]:
    """A trace of all hook points, as ``mmparity capture`` writes it."""
    meta = meta_of(encoder)
    with (
        TraceWriter(folder, meta, kept=True) as writer,
        capturing(encoder, meta.depth, writer),
    ):
        yield


@contextmanager
def _statistics(encoder: Encoder, folder: Path) -> Iterator[None]:
    """Statistics of all hook points, as ``mmparity capture --statistics`` writes."""
    meta = meta_of(encoder)
    with (
        StatisticsWriter(folder, meta, "") as writer,
        capturing(encoder, meta.depth, writer),
    ):
        yield


MODES: dict[str, tuple[str, Recording]] = {
    "statistics": ("mmparity: statistics of every token", _statistics),
    "trace": ("mmparity: every hook point to disk", trace),
    **PEERS,
}
DOCS = Path(__file__).resolve().parents[3] / "docs" / "capture-cost.md"
PACKAGES = ("torch", "transformers", "numba", "mindstudio-probe", "sglang")


class Peak:
    """The most resident memory inside the ``with``, above that at its start.

    ``before``: bytes resident when they should be counted from, where that is earlier.
    """

    def __init__(self, before: int | None = None) -> None:
        self._before = before

    def __enter__(self) -> Peak:
        self.most = _resident()
        self.before = self.most if self._before is None else self._before
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def extra(self) -> int:
        """Bytes."""
        return self.most - self.before

    def _watch(self) -> None:
        while not self._end.wait(0.005):
            self.most = max(self.most, _resident())


def _resident() -> int:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(mode: str, depth: int | None, side: int, repeats: int) -> RecordingCost:
    """The seconds of plain and recorded forwards, in turn, and the extra memory."""
    recording = MODES[mode][1]
    path = seeded_checkpoint(CHECKPOINTS, depth=depth)
    encoder, forward = tower(path, side)
    seconds: dict[str, list[float]] = {"plain": [], "recorded": []}
    extra = written = 0
    with (
        torch.inference_mode(),
        tempfile.TemporaryDirectory(dir=path.parent) as room,
    ):
        for _ in range(WARM_UP):
            forward()
        load_passes()
        before = _resident()
        for _ in range(repeats):
            seconds["plain"].append(seconds_of(forward))
            with (
                tempfile.TemporaryDirectory(dir=room) as folder,
                Peak(before) as peak,
            ):

                def recorded(folder: str = folder) -> None:
                    with recording(encoder, Path(folder) / "out"):
                        forward()

                seconds["recorded"].append(seconds_of(recorded))
                files = [f for f in Path(folder).rglob("*") if f.is_file()]
                written = sum(file.stat().st_size for file in files)
            extra = max(extra, peak.extra)
    return RecordingCost(seconds, extra, written)


def load_passes() -> None:
    """Has the compiled passes in memory, as peers have their code once imported."""
    small = torch.ones(2, COLUMNS + 1, dtype=torch.bfloat16)
    Statistician().of(small)
    metrics.measure(small, 2 * small)


def seconds_of(action: Callable[[], None]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@click.command(context_settings={"max_content_width": 88})
@click.option("--mode", "modes", multiple=True, type=click.Choice(list(MODES)))
@click.option("--depth", type=int, help="Blocks; all 32 where not given.")
@click.option("--side", default=28, show_default=True, help="Patches along a side.")
@click.option("--repeats", default=5, show_default=True, help="Minimum of so many.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Write it, beside modes it has.",
)
@click.option("--docs", is_flag=True, help="Write the table of docs/capture-cost.md.")
@click.option("--here", is_flag=True, hidden=True)
def main(
    modes: tuple[str, ...],
    depth: int | None,
    side: int,
    repeats: int,
    threads: int,
    json_file: Path | None,
    docs: bool,
    here: bool,
) -> None:
    """Measure what recording a forward costs, for mmparity and for its peers.

    Qwen2.5-VL-7B's vision tower as transformers has it, seeded weights, bfloat16, on
    the CPU. A figure over its target is said, and is no error.

    \b
    python -m harness_checks.bench.capture
    python -m harness_checks.bench.capture --mode trace --depth 4
    """
    if here:
        torch.set_num_threads(threads)
        click.echo(json.dumps(plain(_measured_here(modes[0], depth, side, repeats))))
        return
    options = {"repeats": repeats, "threads": threads}
    given = conditions("harness_checks.bench.capture", PACKAGES, **options)
    found = _measured_before(json_file, given)
    for mode in modes or MODES:
        click.echo(MODES[mode][0], err=True)
        found[mode] = _in_own_process(mode, depth, side, repeats, threads)
        if json_file:  # each at once: the rest may be for another time
            write_text(json_file, to_json({**plain(given), "modes": found}))
    titles = {mode: title for mode, (title, _) in MODES.items()}
    figures = rows({mode: found[mode] for mode in MODES if mode in found}, titles)
    console().print(shown(HEAD, (row.line for row in figures)))
    if docs:
        write_docs(markdown(figures, given), DOCS)


def _measured_here(
    mode: str, depth: int | None, side: int, repeats: int
) -> RecordingCost:
    try:
        return measure(mode, depth, side, repeats)
    except MmparityError as error:
        return RecordingCost(missing=str(error))


def _measured_before(file: Path | None, given: Conditions) -> dict[str, RecordingCost]:
    """Modes that a file has already, where they were measured in the same way."""
    if file is None or not file.is_file():
        return {}
    before, now = read_json(file), plain(given)
    same = ("machine", "versions", "repeats", "threads")
    if any(before.get(name) != now[name] for name in same):
        raise click.ClickException(
            f"{file} was measured elsewhere, with other versions or options: "
            "give --json another file."
        )
    return {
        mode: validated(RecordingCost, cost, file)
        for mode, cost in before["modes"].items()
    }


def _in_own_process(
    mode: str, depth: int | None, side: int, repeats: int, threads: int
) -> RecordingCost:
    given = {"mode": mode, "side": side, "repeats": repeats, "threads": threads}
    if depth is not None:
        given["depth"] = depth
    options = [
        text for key, value in given.items() for text in (f"--{key}", str(value))
    ]
    command = [sys.executable, "-m", "harness_checks.bench.capture", "--here", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"{mode} ended with exit status {done.returncode}.")
    return RecordingCost(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    run(main)
