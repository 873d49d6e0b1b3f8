# SPDX-License-Identifier: Apache-2.0
"""`mmparity capture`: one implementation's traces."""

from __future__ import annotations

from typing import Any

import click

from mmparity.commands.grouped import GroupedCommand, option
from mmparity.commands.options import EPILOG, case_options
from mmparity.locks import held
from mmparity.processes import Starter
from mmparity.run.plan import Options


@click.command(cls=GroupedCommand, epilog=EPILOG)
@click.argument("implementation")
@case_options
@option("how much", "--again", is_flag=True, help="Capture anew what is there already.")
@option(
    "output",
    "--statistics",
    is_flag=True,
    help="Keep each token's norm, ends and a sketch instead of tensors: costs little.",
)
@option("output", "--only", default="", help="Keep these hook points; with commas.")
@click.pass_obj
def capture(
    starter: Starter | None, /, implementation: str, again: bool, **given: Any
) -> None:
    """Capture one implementation's traces, to compare here or elsewhere.

    Of one model at a time, into OUT/traces/IMPLEMENTATION; hf is captured in float64,
    as the oracle, where no --dtype is given. After an interruption the same command
    goes on: whole traces of the same weights, pixels, trees and versions are kept.

    \b
      mmparity capture unified --fast --statistics --out build/new
      mmparity capture unified --fast --only blocks.0,blocks.0.norm1 --out build/some
    """
    from mmparity.capture.worker_process import WORKER
    from mmparity.run.execute import capture as capture_one
    from mmparity.run.planning import make_capture_plan
    from mmparity.run.prepare import prepare
    from mmparity.run.progress import ProgressDisplay
    from mmparity.workload.implementations import IMPLEMENTATIONS

    plan = make_capture_plan(Options(**given), implementation, IMPLEMENTATIONS)
    steps = len(plan.cases) * len(plan.dtypes_of(implementation))
    with held(plan.options.out), ProgressDisplay(steps) as display:
        subjects = prepare((plan,))
        capture_one(subjects, implementation, display, starter or WORKER, again=again)
    click.echo(str(plan.options.out / "traces" / implementation))
