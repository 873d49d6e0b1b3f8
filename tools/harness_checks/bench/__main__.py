# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.bench``: each new encoder over the old one, as ratios."""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path

import click

from harness_checks.bench import console
from harness_checks.bench.conditions import conditions, device_name
from harness_checks.bench.costs import PairCost, PairGrowth
from harness_checks.bench.pair_table import (
    BEGIN,
    END,
    HEAD,
    TARGET_HEAD,
    markdown,
    met,
    ratio_text,
    rows,
    target_rows,
)
from harness_checks.bench.pairs import GROWING, PROCESSES, measure_growth, measure_pair
from harness_checks.bench.sides import Setting
from harness_checks.bench.tables import shown
from harness_checks.bench.targets import Target, targets
from harness_checks.command_line import run
from harness_checks.doc_blocks import write_between
from mmparity.encoders.devices import check_present, check_side
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.stored_json import plain, to_json
from mmparity.workload.implementations import get
from mmparity.workload.seeded import seeded_checkpoint

PAIRS = (
    ("vllm-0.12.0", "unified"),
    ("ascend-0.11.0", "unified-ascend"),
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("unified-ascend", "unified-ascend-weights"),
)
CHECKPOINTS = Path("build/parity/checkpoints")
PACKAGES = ("torch", "transformers")
DOCS = Path(__file__).resolve().parents[3] / "docs" / "encoder-cost.md"


def chosen_pairs(only: str, device: str) -> list[tuple[str, str]]:
    """The pairs with ``only`` in their names that the device, if it is there, runs."""
    pairs = [pair for pair in PAIRS if device == "cpu" or _runs(pair, device)]
    chosen = [pair for pair in pairs if only in ":".join(pair)]
    if not chosen:
        names = ", ".join(":".join(pair) for pair in pairs)
        raise click.UsageError(
            f"--only {only}: none of the pairs of --device {device}: {names}"
        )
    try:
        check_present(device)
    except MmparityError as error:
        raise click.UsageError(str(error)) from error
    return chosen


def _runs(pair: tuple[str, str], device: str) -> bool:
    try:
        for name in pair:
            check_side(get(name), device)
    except MmparityError:
        return False
    return True


@click.command(context_settings={"max_content_width": 88})
@click.option("--dtype", "dtypes", multiple=True, default=("bfloat16", "float32"))
@click.option("--depth", default=8, show_default=True, help="Blocks.")
@click.option(
    "--repeats",
    default=7,
    show_default=True,
    type=click.IntRange(1),
    help="Minimum of at least so many.",
)
@click.option(
    "--processes",
    default=PROCESSES,
    show_default=True,
    type=click.IntRange(1),
    help="So many of each side share the repeats.",
)
@click.option("--threads", default=2, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu")
@click.option("--only", default="", help="Pairs old:new with this in their names.")
@click.option("--sizes", default=1000, show_default=True, help="Image sizes kept?")
@click.option("--forwards", default=2000, show_default=True, help="Objects kept?")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write it.")
@click.option("--docs", is_flag=True, help="Write the tables of docs/encoder-cost.md.")
def main(
    dtypes: tuple[str, ...],
    depth: int,
    repeats: int,
    processes: int,
    threads: int,
    device: str,
    only: str,
    sizes: int,
    forwards: int,
    json_file: Path | None,
    docs: bool,
) -> None:
    """Measure each unified encoder against the one that it replaces.

    Qwen2.5-VL-7B's vision tower with seeded weights. The Ascend pairs run with
    emulated operators, so only what is around them can be compared, and over released
    encoders not in float32, which no NPU's attention has. A figure over its target is
    said, and is no error. With --device cuda the pairs are those without vllm-ascend.

    \b
    python -m harness_checks.bench
    python -m harness_checks.bench --only vllm-0.12.0:unified --dtype bfloat16
    python -m harness_checks.bench --device cuda --processes 1 --sizes 0
    """
    if docs and device != "cpu":
        raise click.UsageError("--docs is of figures of a CPU; give --json for others.")
    pairs = chosen_pairs(only, device)
    given = conditions(
        "harness_checks.bench",
        PACKAGES,
        repeats=repeats,
        processes=processes,
        threads=threads,
        device=device_name(device),
    )
    weights = seeded_checkpoint(CHECKPOINTS, depth=depth)
    with tempfile.TemporaryDirectory(prefix="mmparity-bench-") as folder:
        settings = [
            Setting(dtype, weights, threads, Path(folder), device) for dtype in dtypes
        ]
        measured = [
            _measured(pair, setting, repeats, processes)
            for pair, setting in product(pairs, settings)
            # a stand-in's attention over that of native code
            if setting.dtype != "float32" or not get(pair[0]).float32_attention
        ]
        grows = GROWING in pairs and sizes
        growth = _growth(settings[0], sizes, forwards) if grows else None
    wanted = targets(measured, growth)
    _print(measured, wanted)
    if json_file:
        content = {**plain(given), "measured": measured, "growth": growth}
        write_text(json_file, to_json(content))
    if docs:
        write_between(DOCS, BEGIN, END, markdown(measured, wanted, given))


def _growth(setting: Setting, sizes: int, forwards: int) -> PairGrowth:
    console().print(f"{sizes} image sizes and {forwards} forwards")
    return measure_growth(setting, sizes, forwards)


def _print(measured: list[PairCost], wanted: list[Target]) -> None:
    screen = console()
    screen.print(shown(HEAD, rows(measured)))
    screen.print(shown(TARGET_HEAD, target_rows(wanted), met(wanted)))


def _measured(
    pair: tuple[str, str], setting: Setting, repeats: int, processes: int
) -> PairCost:
    screen = console()
    screen.print(f"{pair[1]} over {pair[0]}, {setting.dtype}")
    found = measure_pair(pair, setting, repeats, processes, screen.print)
    for item in found.inputs:
        screen.print(f"  {item.title}: {ratio_text(item)}")
    return found


if __name__ == "__main__":
    run(main)
