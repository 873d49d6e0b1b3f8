# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.mutants``. Parses, calls, prints."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness_checks.mutants.catalogue import SETS, read_catalogue
from mmparity.locks import held

if TYPE_CHECKING:
    from harness_checks.mutants.score import Score

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "mutants.md"


@click.command(
    epilog="Exit codes: 0 every bug found, 1 one escapes or a false alarm, "
    "2 could not run."
)
@click.argument("names", nargs=-1)
@click.option(
    "--set",
    "of",
    type=click.Choice(list(SETS)),
    default="catalogue",
    help="Which bugs: those thought of, or those that users reported in public.",
)
@click.option("--quick", is_flag=True, help="Only those that the tests run.")
@click.option("--docs", is_flag=True, help="Write the table into docs/mutants.md.")
@click.option("--peers", is_flag=True, help="Also judge them by msprobe and by SGLang.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=ROOT / "build" / "mutants",
    help="Folder of traces and logs. Default: build/mutants.",
)
def mutants(
    names: tuple[str, ...], of: str, quick: bool, docs: bool, peers: bool, out: Path
) -> None:
    """Plant bugs in the patched trees and say which ones the harness finds.

    NAMES: only those mutants whose name has one of these texts in it.
    """
    from harness_checks.mutants import history
    from harness_checks.mutants.peers.run import runnable
    from harness_checks.mutants.peers.table import summary, write_peers
    from harness_checks.mutants.run import run_mutants
    from harness_checks.mutants.score import score, write_docs
    from mmparity.capture.worker_process import warm_forks

    catalogue = [mutant for mutant in read_catalogue() if mutant.of == of]
    chosen = [
        mutant
        for mutant in catalogue
        if (not names or any(name in mutant.name for name in names))
        and (mutant.quick or not quick)
    ]
    if not chosen:
        raise click.UsageError(f"no mutant is called like {', '.join(names)}")
    if docs and len(chosen) < len(catalogue):
        raise click.UsageError(f"--docs needs the whole {of}")
    if peers:
        chosen = [mutant for mutant in chosen if not mutant.twin_of]
    tools = runnable() if peers else ()
    started = time.monotonic()
    with held(out), warm_forks() as forks:
        outcomes, judged = run_mutants(
            chosen, out.resolve(), lambda text: click.echo(text, err=True), forks, tools
        )
    result = score(chosen, outcomes)
    _print(result, time.monotonic() - started)
    if peers:
        click.echo("\n".join(summary(result, judged)))
    if docs:
        if peers:  # without twins, whose column the other table has
            write_peers(result, judged, DOCS)
        else:
            (history.write_docs if of == "history" else write_docs)(result, DOCS)
        click.echo(f"Written: {DOCS.relative_to(ROOT)}")
    sys.exit(0 if result.passes else 1)


def _print(result: Score, seconds: float) -> None:
    from harness_checks.mutants import groups

    for row in result.problems:
        outcome, mutant = row.outcome, row.mutant
        click.echo(f"{row.problem}: {mutant.name} ({mutant.file})")
        click.echo(f"  found at {outcome.place or '-'}, case {outcome.case or '-'}")
        if mutant.at:
            click.echo(f"  expected {' or '.join(mutant.at)}, case {mutant.case}")
        if outcome.reason:
            click.echo(f"  {outcome.reason}")
    click.echo("\n".join(groups.table(result)))
    click.echo(f"{result.sentence()}; {seconds:.0f} s")
