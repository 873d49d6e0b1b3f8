# SPDX-License-Identifier: Apache-2.0
"""`mmparity watch`: the verdict on a tree that is being edited, after each save."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
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
    from mmparity.run.watching import Watch
    from mmparity.run.workers import Watcher

    Run = Callable[[Watcher], ComparisonResult]

MOST_FILES = 5
"""So many edited files are named."""
IDLE_MILLISECONDS = 300


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
    from mmparity.run.execute import with_pages
    from mmparity.run.planning import make_plans
    from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
    from mmparity.run.watching import Watch
    from mmparity.workload.implementations import IMPLEMENTATIONS

    session = Watch(make_plans(options, IMPLEMENTATIONS), starter)
    if not session.trees:
        raise MmparityError("no implementation of this run is made of a source tree.")

    def judged(run: Run) -> ComparisonResult:
        started = time.monotonic()
        told = plan_lines(session.plans)
        with ProgressDisplay(steps_of(session.plans), told=told) as display:
            result, page = with_pages(run(display), options.out)
        shown(result, page)
        spent = time.monotonic() - started
        click.echo(f"{spent:.1f} s; waiting for edits, Ctrl-C ends", err=True)
        return result

    with held(options.out):
        result = follow(session, judged)
    sys.exit(EXIT_CODES[result.verdict])


def follow(
    session: Watch, judged: Callable[[Run], ComparisonResult]
) -> ComparisonResult:
    """The first run, and one after each edit, until Ctrl-C; the last result."""
    from mmparity.run.execute import INTERRUPTED

    edits = changes(session.trees)
    next(edits)  # what is saved while the first run lasts is an edit, too
    result = judged(session.first)
    for files in edits:
        if session.touched(files):
            names = sorted(path.name for path in files)
            click.echo(f"edited: {', '.join(names[:MOST_FILES])}", err=True)
            result = judged(session.again)
        if INTERRUPTED in result.provenance.errors:
            break
    return result


def changes(trees: Iterable[Path]) -> Iterator[list[Path]]:
    """The Python files that were saved since the item before; ends at Ctrl-C.

    The first item is there as soon as saves are seen; one that comes while nothing was
    saved is empty.
    """
    from watchfiles import PythonFilter, watch

    for saved in watch(
        *trees,
        watch_filter=PythonFilter(),
        debounce=200,
        rust_timeout=IDLE_MILLISECONDS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield [Path(path) for _, path in saved]
