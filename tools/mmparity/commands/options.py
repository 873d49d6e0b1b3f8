# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mmparity.run.plan import CACHE_GIB

DEFAULT_OUT = Path("build/parity")


_PATH = click.Path(path_type=Path)
_WHAT: list[Callable[..., Any]] = [
    click.option("--case", "cases", multiple=True, help="Case; repeat for more."),
    click.option(
        "--dtype",
        "dtypes",
        multiple=True,
        help="float32, bfloat16, ...; repeat for more. Default: both.",
    ),
    click.option(
        "--depth", type=click.IntRange(min=2), help="Cut the encoder to N blocks."
    ),
    click.option(
        "--model",
        "--models",
        "models",
        multiple=True,
        help="Whose vision tower: a name, several with commas, or all (cut to "
        "2 blocks). Default: qwen2.5-vl-7b.",
    ),
    click.option("--full-depth", is_flag=True, help="All blocks of all models."),
    click.option("--grid", "grids", multiple=True, help="Noise on a patch grid T,H,W."),
    click.option(
        "--checkpoint", type=_PATH, help="Default: seeded weights at real size."
    ),
    click.option("--fast", is_flag=True, help="4 blocks instead of all."),
]
"""Which encoders are captured on which cases."""
_HOW: list[Callable[..., Any]] = [
    click.option(
        "--tp", type=click.IntRange(min=1), default=1, help="Ranks. Default: 1."
    ),
    click.option(
        "--mm-encoder-tp-mode",
        "tp_mode",
        type=click.Choice(["weights", "data"]),
        default="weights",
        help="What is spread over the ranks: weights (the default), or images.",
    ),
    click.option("--device", type=click.Choice(["cpu", "cuda", "npu"]), default="cpu"),
    click.option(
        "--tree", "trees", multiple=True, help="IMPL:SOURCE=DIR, another tree."
    ),
    click.option("--threads", type=click.IntRange(1, 4096), help="CPU threads."),
    click.option(
        "--out", type=_PATH, default=DEFAULT_OUT, help=f"Default: {DEFAULT_OUT}."
    ),
]
"""Where and in how many processes."""

EPILOG = "Exit codes: 0 the same / done, 1 differences, 2 bad input or could not run."


def run_options(graft: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds what says which sides are compared, and what of it is taken from a cache.

    ``graft`` is the default of ``--graft``.
    """
    options: list[Callable[..., Any]] = [
        click.option("--old", help="Implementation that new is compared with."),
        click.option("--new", help="Implementation that is judged."),
        case_options,
        click.option(
            "--expect",
            type=click.Choice(["identical", "floor"]),
            help="Hold every pair to the same bits, or to no more than noise. Default: "
            "what is known of the pair (docs/reading-a-report.md).",
        ),
        click.option(
            "--graft",
            type=click.Choice(["failing", "all", "none"]),
            default=graft,
            help="Cases to run once more, new fed with old's tensors: who makes the "
            f"error. Default: {graft}.",
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Take what an earlier run captured of the same weights, pixels, trees "
            "and versions from DIR, and keep what is captured there.",
        ),
        click.option(
            "--cache-limit",
            type=click.FloatRange(min=0, min_open=True),
            metavar="GIB",
            default=CACHE_GIB,
            help="Size of DIR, where what was not used for longest goes. Default: "
            f"{CACHE_GIB:.0f}.",
        ),
    ]

    return lambda command: _added(options, command)


def case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say what is captured, where and how much of it."""
    return _added([*_WHAT, *_HOW], command)


def _added(
    options: Sequence[Callable[..., Any]], command: Callable[..., Any]
) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
