# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.transforms``. Parses, calls, prints."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmparity.locks import held

ROOT = Path(__file__).resolve().parents[3]


@click.command(
    epilog="Exit codes: 0 every result is as it must be, 1 one is not, 2 could not run."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=ROOT / "build" / "transforms",
    help="Folder of traces and logs. Default: build/transforms.",
)
def transforms(out: Path) -> None:
    """Change weights and pixels in ways that change no result, or a known part of it.

    Every implementation, the oracle among them, is compared with itself.
    """
    from harness_checks.transforms.changes import TRANSFORMS
    from harness_checks.transforms.run import broken, subjects
    from mmparity.capture.worker_process import warm_workers
    from mmparity.workload.implementations import IMPLEMENTATIONS
    from mmparity.workload.trees import find_trees

    names = sorted({name for name, _ in subjects()})
    trees = find_trees(names, (), IMPLEMENTATIONS)
    failed = 0
    with held(out), warm_workers("cpu") as starter:
        for name, family in subjects():
            work = out.resolve() / f"{name}-{family}"
            found = broken(name, family, trees[name], work, starter)
            failed += bool(found)
            said = [f"{change} ({error:.1e})" for change, error in found.items()]
            click.echo(f"{name}, {family}: {', '.join(said) or 'the same'}")
    click.echo(f"{len(TRANSFORMS)} changes of {len(list(subjects()))} encoders")
    sys.exit(1 if failed else 0)
