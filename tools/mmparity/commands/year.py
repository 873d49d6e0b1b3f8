# SPDX-License-Identifier: Apache-2.0
"""``mmparity year``: every implementation against the oracle, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from mmparity import provenance
from mmparity.commands.options import PYTHON, TREE
from mmparity.encoders.devices import DTYPES
from mmparity.errors import MmparityError
from mmparity.files import OTHER_OUT, check_writable, write_together
from mmparity.locks import held
from mmparity.run.plan import DEFAULT_DTYPES
from mmparity.workload.cases import CASES
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from mmparity.report.year import Release
    from mmparity.types.comparison import ComparisonResult

PATH = click.Path(path_type=Path)
PAGE, CHART = "a-year.md", "images/a-year.svg"
NAMES = [name for name, item in IMPLEMENTATIONS.items() if not item.oracle]
OTHER_PAGE = "another file with --page"
"""What can be named instead of a page that cannot be written."""


@click.command(epilog="Exit codes: 0 the page is written, 2 bad input or interrupted.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help=f"Whose vision tower; `mmparity list models`. Default: {DEFAULT_MODEL}.",
)
@click.option(
    "--impl",
    "only",
    multiple=True,
    help=f"Only this one beside the first; repeat for more: {', '.join(NAMES)}. "
    "Default: all that are there.",
)
@click.option(
    "--case", default="image", show_default=True, help=f"One of {', '.join(CASES)}."
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    help=f"Repeat for more: {', '.join(DTYPES)}. Default: {', '.join(DEFAULT_DTYPES)}.",
)
@click.option(
    "--depth", type=click.IntRange(min=2), default=3, show_default=True, help="Blocks."
)
@click.option("--threads", type=click.IntRange(1, 4096), help="CPU threads.")
@click.option("--tree", "trees", **TREE)
@click.option("--python", "pythons", **PYTHON)
@click.option(
    "--out",
    type=PATH,
    default=Path("build/year"),
    show_default=True,
    help="Folder of the result.",
)
@click.option(
    "--page",
    "page_file",
    type=PATH,
    help=f"File of the page. Default: {PAGE} in the folder of --out.",
)
@click.pass_obj
def year(
    starter: Any,
    /,
    only: tuple[str, ...],
    case: str,
    page_file: Path | None,
    **given: Any,
) -> None:
    """Run every implementation that is there, and write a page of them all.

    Each against the oracle, against vllm-ascend 0.11.0's encoder and against the one
    before it. What is not there is left out, with the reason; what fails is a row.

    \b
      mmparity year --impl vllm-0.12.0 --impl unified --out build/year
      mmparity year --python installed=../env/bin/python --page build/page.md
    """
    from mmparity.capture.worker_process import warm_workers
    from mmparity.report.year import releases
    from mmparity.run.execute import INTERRUPTED, execute
    from mmparity.run.plan import Options
    from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
    from mmparity.run.year import COSTS_DTYPE, make_year

    options = Options(cases=(case,), graft="none", costs=COSTS_DTYPE, **given)
    target = page_file or options.out / PAGE
    instead = OTHER_PAGE if page_file else OTHER_OUT
    check_writable([target, target.parent / CHART], instead)
    made = make_year(options, IMPLEMENTATIONS, only)
    plans = (made.plan,)
    shown = ProgressDisplay(steps_of(plans), told=plan_lines(plans))
    with ExitStack() as stack:
        if starter is None:
            starter = stack.enter_context(warm_workers("cpu"))
        stack.enter_context(held(options.out))
        result = execute(plans, stack.enter_context(shown), starter)
    if INTERRUPTED in result.provenance.errors:
        raise MmparityError(_without_page(options.out, "interrupted"))
    after = {name: item.after for name, item in IMPLEMENTATIONS.items()}
    found = releases(result, made.first, after)
    if all(item.failed for item in found):
        why = f"nothing could run: {found[0].failed}"
        raise MmparityError(_without_page(options.out, why))
    write_together(_texts(target, result, found, made.left_out), instead)
    for item in found:
        for dtype, text in item.findings.items():
            click.echo(f"{item.name}, {dtype}, against {item.before}: {text}")
    click.echo(f"Page: {target}")


def _without_page(out: Path, why: str) -> str:
    """Why a run ends without a page, what it leaves, and what makes the page."""
    return (
        f"{why.rstrip('.')}. There is no page. `mmparity report {quote(str(out))}` "
        "shows how far the run came. A page needs a whole run, and none of its "
        f"captures are kept: `{provenance.command()}` begins anew."
    )


def _texts(
    target: Path,
    result: ComparisonResult,
    found: Sequence[Release],
    left_out: Mapping[str, str],
) -> dict[Path, str]:
    """The page, and its chart in the folder of images beside it."""
    from mmparity.report.year_chart import chart
    from mmparity.report.year_page import page

    text = page(result, found, left_out, CHART)
    return {target: text, target.parent / CHART: chart(found)}
