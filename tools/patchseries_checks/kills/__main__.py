# SPDX-License-Identifier: Apache-2.0
"""`python -m patchseries_checks.kills`: as many kills as asked for, and a table."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import patchseries_checks.kills
from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries_checks.kills.command import MOMENTS
from patchseries_checks.kills.rounds import Rounds
from patchseries_checks.kills.sites import made_sites, real_sites

MEMORY, ROOM = Path("/dev/shm"), 2 << 30  # bytes


def table(rounds: Rounds) -> Table:
    """One row for each site and kill: kills by the step that they hit, and broken."""
    shown = Table(title="kills by the step of the journal that they hit")
    moments = [m for m in MOMENTS if m in {key[2] for key in rounds.killed}]
    for name in ("target", "kill"):
        shown.add_column(name)
    for name in (*moments, "all", "broken"):
        shown.add_column(name, justify="right")
    for kind, kill in sorted({key[:2] for key in rounds.killed}):
        counts = [rounds.killed[kind, kill, moment] for moment in moments]
        broken = sum(rounds.broken[kind, kill, moment] for moment in moments)
        cells = (str(count or "") for count in counts)
        shown.add_row(kind, kill, *cells, str(sum(counts)), str(broken))
    return shown


def play(rounds: Rounds, kills: int, seed: int, say: Console) -> None:
    """Rounds until there were that many kills, or no site is whole any more."""
    number, told, began = 0, 0, time.monotonic()
    while (done := rounds.killed.total()) < kills and rounds.sites:
        if done >= told:
            took = f"{time.monotonic() - began:.0f} s"
            broken = rounds.broken.total()
            say.print(f"{done} of {kills} kills, {broken} broken outcomes, {took}")
            told += max(10, kills // 10)
        if problem := rounds.play(random.Random(f"{seed}/{number}")):
            say.print(f"broken in round {number}: {problem}", markup=False)
        number += 1


@contextmanager
def folders() -> Iterator[tuple[Path, Path | None]]:
    """A folder to work in, in memory where there is room, and one on another system."""
    on_disk, in_memory = Path(tempfile.gettempdir()).resolve(), None
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        in_memory = MEMORY
    with ExitStack() as stack:
        made = [
            Path(stack.enter_context(tempfile.TemporaryDirectory("-kills", dir=place)))
            for place in (in_memory, on_disk)
            if place
        ]
        devices = {path.stat().st_dev for path in made}
        yield made[0], made[1] if len(devices) > 1 else None


@click.command(help=patchseries_checks.kills.__doc__)
@click.argument("kills", default=300)
@click.option("--seed", default=0, help="Another one, other moments.")
@click.option("--real", is_flag=True, help="The project's own series and trees (slow).")
@click.option("--only", default="", help="Targets whose name begins so.")
def main(kills: int, seed: int, real: bool, only: str) -> None:
    """Exit status 1 when anything is broken, 2 when it could not run."""
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    began = time.monotonic()
    with folders() as (folder, apart):
        try:
            found = real_sites(Project.here(), folder) if real else None
            found = found or made_sites(folder, apart)
            sites = [site for site in found if site.kind.startswith(only)]
            if not sites:
                raise PatchseriesError("no-target", f"none begins with {only!r}")
            rounds = Rounds(sites, folder / "scratch")
            rounds.scratch.mkdir()
            tempfile.tempdir = str(rounds.scratch)
            names = ", ".join(site.kind for site in rounds.sites)
            say.print(f"targets: {names}; every command once unharmed")
            rounds.learn()
            play(rounds, kills, seed, say)
        except PatchseriesError as error:
            click.echo(f"kills: {error}", err=True)
            sys.exit(2)
        except Exception:  # 1 says that something is broken
            traceback.print_exc()
            sys.exit(2)
        finally:
            tempfile.tempdir = None
    out = Console(highlight=False, width=100)
    out.print(table(rounds))
    done, broken = rounds.killed.total(), rounds.broken.total()
    took = time.monotonic() - began
    out.print(f"{done} kills, {broken} broken outcomes, {took:.0f} s")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
