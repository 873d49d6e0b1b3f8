# SPDX-License-Identifier: Apache-2.0
"""`mmparity watch`: the verdict on a tree that is being edited, after each save."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmparity.commands.grouped import GroupedCommand
from mmparity.commands.options import EPILOG, run_options
from mmparity.commands.report import shown
from mmparity.errors import MmparityError
from mmparity.locks import held
from mmparity.processes import Starter
from mmparity.run.plan import Options
from mmparity.types.comparison import ComparisonResult
from mmparity.types.verdict import EXIT_CODES

if TYPE_CHECKING:
    from mmparity.run.workers import Watcher

MOST_FILES = 5
"""So many edited files are named."""


@click.command(cls=GroupedCommand, epilog=EPILOG)
@run_options(graft="none")
def watch(**given: Any) -> None:
    """Run once, and again what each edit of a tree touches, until Ctrl-C.

    Old sides and the oracle are captured once, packages are imported once. The report
    is written anew each time. The exit code is that of the last verdict:

    \b
      mmparity watch --old vllm-0.12.0 --new unified --case image --cache build/cache
    """
    from mmparity.capture.worker_process import warm_workers

    options = Options(**given, keep_traces=True)
    with warm_workers(options.device) as starter:
        _watch(options, starter)


def _watch(options: Options, starter: Starter) -> None:
    from mmparity.run.execute import INTERRUPTED, with_pages_timed
    from mmparity.run.planning import make_plans
    from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
    from mmparity.run.watching import Watch
    from mmparity.workload.implementations import IMPLEMENTATIONS

    session = Watch(make_plans(options, IMPLEMENTATIONS), starter)
    if not session.trees:
        raise MmparityError("no implementation of this run is made of a source tree.")

    def judged(run: Callable[[Watcher], ComparisonResult]) -> ComparisonResult:
        started = time.monotonic()
        told = plan_lines(session.plans)
        with ProgressDisplay(steps_of(session.plans), told=told) as display:
            result = with_pages_timed(run(display), options.out)
        shown(result, options.out)
        spent = time.monotonic() - started
        click.echo(f"{spent:.1f} s; waiting for edits, Ctrl-C ends", err=True)
        return result

    with held(options.out):
        result = judged(session.first)
        for files in changes(session.trees):
            if session.touched(files):
                names = sorted(path.name for path in files)
                click.echo(f"edited: {', '.join(names[:MOST_FILES])}", err=True)
                result = judged(session.again)
            if INTERRUPTED in result.provenance.errors:
                break
    sys.exit(EXIT_CODES[result.verdict])


def changes(trees: Iterable[Path]) -> Iterable[list[Path]]:
    """The Python files that were saved, each time some were; ends at Ctrl-C."""
    from watchfiles import PythonFilter, watch

    settings: dict[str, Any] = {"debounce": 200, "raise_interrupt": False}
    for saved in watch(*trees, watch_filter=PythonFilter(), **settings):
        yield [Path(path) for _, path in saved]
