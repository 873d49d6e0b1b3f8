# SPDX-License-Identifier: Apache-2.0
"""`mmparity run`: captures the sides and the oracle, compares, and reports."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mmparity.commands.grouped import GroupedCommand, option
from mmparity.commands.options import EPILOG, run_options
from mmparity.commands.report import shown
from mmparity.locks import held
from mmparity.processes import Starter
from mmparity.run.plan import Options
from mmparity.types.verdict import EXIT_CODES


@click.command(cls=GroupedCommand, epilog=EPILOG)
@run_options(graft="failing")
@option(
    "where",
    "--ray",
    metavar="ADDRESS",
    help="Spread cases over a Ray cluster (docs/running-on-ray.md); local starts one.",
)
@option(
    "output", "--keep-traces", is_flag=True, help="Keep every tensor in OUT/traces."
)
@option(
    "output",
    "--floors",
    "floors_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `floors` wrote: each row's margin is its error over its null floor.",
)
@option("output", "--json", "as_json", is_flag=True, help="Print comparison.json.")
@click.pass_obj
def run(
    starter: Starter | None, /, as_json: bool, floors_file: Path | None, **given: Any
) -> None:
    """Capture the sides and the oracle, compare, and report.

    Without --old and --new: the released Ascend encoders against the unified one
    with Ascend's operators, and vLLM's encoder against the unified one.

    While patches change, the old sides and the oracle need to run once only:

    \b
      mmparity run --cache build/cache
    """
    from mmparity.capture.worker_process import WORKER, warm_workers

    options = Options(**given)
    with ExitStack() as stack:
        if options.ray is not None:
            starter = WORKER
        elif starter is None:  # their packages are imported while the run is planned
            starter = stack.enter_context(warm_workers(options.device))
        _run(options, starter, stack, floors_file, as_json)


def _run(
    options: Options,
    starter: Starter,
    stack: ExitStack,
    floors_file: Path | None,
    as_json: bool,
) -> None:
    from mmparity.compare.floors import read_floors
    from mmparity.run.planning import make_plans
    from mmparity.workload.implementations import IMPLEMENTATIONS

    floors = read_floors(floors_file) if floors_file else None
    plans = make_plans(options, IMPLEMENTATIONS)
    # What takes seconds to import is not waited for where options are refused.
    from mmparity.run.execute import execute, with_pages
    from mmparity.run.prepare import trace_sizes
    from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
    from mmparity.run.workers import CrewMaker, LocalCrew

    trace_sizes(plans)  # a full disk is told before the plan is
    crew: CrewMaker = LocalCrew
    if options.ray is not None:
        from mmparity.run.ray_workers import connected

        crew = stack.enter_context(connected(options.ray)).workers
    with held(options.out):
        with ProgressDisplay(steps_of(plans), told=plan_lines(plans)) as display:
            result = execute(plans, display, starter, crew=crew)
        if floors is not None:
            from mmparity.compare.rejudge import rejudge

            result = rejudge(result, floors=floors)
        result, page = with_pages(result, options.out)
    shown(result, page, as_json)
    sys.exit(EXIT_CODES[result.verdict])
