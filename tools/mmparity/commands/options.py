# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mmparity.commands.grouped import option
from mmparity.encoders.devices import DTYPES
from mmparity.run.plan import CACHE_GIB
from mmparity.workload.cases import CASES, DEFAULT_CASES
from mmparity.workload.implementation import BASE, TODAY
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import DEFAULT_MODEL, MODELS
from mmparity.workload.pairs import TODAY_MODELS

DEFAULT_OUT = Path("build/parity")
TREE: dict[str, Any] = {
    "multiple": True,
    "metavar": "IMPL:SOURCE=DIR",
    "help": "Run IMPL from another tree; SOURCE is vllm or vllm-ascend.",
}
"""What ``--tree`` is, of every command that has it."""
PYTHON: dict[str, Any] = {
    "multiple": True,
    "metavar": "IMPL=PYTHON",
    "help": "Run IMPL with this interpreter's packages.",
}
"""``--python`` likewise."""

_PATH = click.Path(path_type=Path)
_NAMES = ", ".join(IMPLEMENTATIONS)
_WHAT: list[Callable[..., Any]] = [
    option(
        "what",
        "--model",
        "--models",
        "models",
        multiple=True,
        help="Whose vision tower: several with commas, or all (cut to 2 blocks): "
        f"{', '.join(MODELS)}. Default: {DEFAULT_MODEL}.",
    ),
    option(
        "what",
        "--case",
        "cases",
        multiple=True,
        help=f"Repeat for more: {', '.join(CASES)}. "
        f"Default: {', '.join(case.name for case in DEFAULT_CASES)}.",
    ),
    option(
        "what",
        "--grid",
        "grids",
        multiple=True,
        metavar="T,H,W",
        help="Noise on a grid of so many patches; repeat for more.",
    ),
    option(
        "what",
        "--dtype",
        "dtypes",
        multiple=True,
        help=f"Repeat for more: {', '.join(DTYPES)}. Default: float32, bfloat16.",
    ),
    option(
        "what",
        "--checkpoint",
        type=_PATH,
        metavar="DIR|ID",
        help="Folder of real weights, or a model's id on a hub, of which the tower is "
        "fetched. Default: seeded weights at real size.",
    ),
]
"""Which encoders are captured on which cases."""
_WHERE: list[Callable[..., Any]] = [
    option(
        "where",
        "--device",
        type=click.Choice(["cpu", "cuda", "npu"]),
        default="cpu",
        help="Default: cpu, with Ascend's operators emulated.",
    ),
    option("where", "--tree", "trees", **TREE),
    option(
        "where",
        "--tp",
        type=click.IntRange(min=1),
        default=1,
        help="Ranks. Default: 1.",
    ),
    option(
        "where",
        "--mm-encoder-tp-mode",
        "tp_mode",
        type=click.Choice(["weights", "data"]),
        default="weights",
        help="What is spread over the ranks: weights (the default), or images.",
    ),
    option("where", "--threads", type=click.IntRange(1, 4096), help="CPU threads."),
    option("where", "--python", "pythons", **PYTHON),
]
"""Where and in how many processes."""
_HOW_MUCH: list[Callable[..., Any]] = [
    option("how much", "--fast", is_flag=True, help="4 blocks instead of all."),
    option(
        "how much",
        "--depth",
        type=click.IntRange(min=2),
        help="Cut the encoder to so many blocks.",
    ),
    option("how much", "--full-depth", is_flag=True, help="All blocks of all models."),
]
"""How many blocks."""
_OUTPUT: list[Callable[..., Any]] = [
    option(
        "output",
        "--out",
        type=_PATH,
        default=DEFAULT_OUT,
        metavar="DIR",
        help=f"Folder of what is written. Default: {DEFAULT_OUT}.",
    ),
]

_SIDES: list[Callable[..., Any]] = [
    option("what", "--old", help=f"Implementation to compare with: {_NAMES}."),
    option("what", "--new", help="Implementation that is judged; the same names."),
    option(
        "what",
        "--env",
        "environment",
        type=click.Choice([BASE, TODAY]),
        default=BASE,
        help="today: each of today's releases against the next, and its series, for "
        f"{', '.join(TODAY_MODELS)}, cut to 2 blocks. Default: {BASE}.",
    ),
]
"""Who is compared."""

EPILOG = "Exit codes: 0 the same / done, 1 differences, 2 bad input or could not run."


def run_options(graft: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds what says which sides are compared, and what of it is taken from a cache.

    ``graft`` is the default of ``--graft``.
    """
    return lambda command: _added([*_SIDES, case_options, *_reused(graft)], command)


def _reused(graft: str) -> list[Callable[..., Any]]:
    return [
        option(
            "how much",
            "--expect",
            type=click.Choice(["identical", "floor"]),
            help="Hold every pair to the same bits, or to no more than noise. Default: "
            "what is known of the pair (docs/judging.md).",
        ),
        option(
            "how much",
            "--graft",
            type=click.Choice(["failing", "all", "none"]),
            default=graft,
            help="Cases to run once more, new fed with old's tensors: who makes the "
            f"error. Default: {graft}.",
        ),
        option(
            "how much",
            "--cache",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Take what an earlier run captured of the same weights, pixels, trees "
            "and versions from DIR, and keep what is captured there.",
        ),
        option(
            "how much",
            "--cache-limit",
            type=click.FloatRange(min=0, min_open=True),
            metavar="GIB",
            default=CACHE_GIB,
            help="Size of DIR, where what was not used for longest goes. Default: "
            f"{CACHE_GIB:.0f}.",
        ),
    ]


def case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say what is captured, where and how much of it."""
    return _added([*_WHAT, *_WHERE, *_HOW_MUCH, *_OUTPUT], command)


def _added(
    options: Sequence[Callable[..., Any]], command: Callable[..., Any]
) -> Callable[..., Any]:
    for add in reversed(options):
        command = add(command)
    return command
