# SPDX-License-Identifier: Apache-2.0
"""``mmparity diff``, ``rejudge`` and ``floors``: stored results, no captures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmparity.commands.options import TREE
from mmparity.errors import MmparityError
from mmparity.files import check_writable
from mmparity.locks import held
from mmparity.types.verdict import EXIT_CODES

if TYPE_CHECKING:
    from mmparity.types.comparison import ComparisonResult

PATH = click.Path(path_type=Path)


@click.command(epilog="Exit codes: 0 the same, 1 differences, 2 bad input.")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Say how two results differ: verdicts, rows, metrics, tolerances.

    When, where and how fast they were made is left out. FIRST and SECOND are folders
    of results, or their files:

    \b
      mmparity diff build/before build/parity
      mmparity diff before.json build/parity/comparison.json --json
    """
    from mmparity.compare.result import read_result
    from mmparity.compare.result_diff import difference, lines
    from mmparity.compare.since import kept_of, since

    results = read_result(first), read_result(second)
    found = difference(*results)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        became = since(kept_of(results[0]), results[1])
        for line in lines(found, became.changed if became else ()):
            click.echo(line)
    sys.exit(1 if found else 0)


@click.command(epilog="Exit codes: the new verdict's, 0 pass, 1 fail, 2 error.")
@click.argument("directory", type=PATH)
@click.option("--tolerances", type=PATH, help="TOML with [[rule]] entries.")
@click.option("--floors", "floors_file", type=PATH, help="What `floors` wrote.")
@click.option("--out", type=PATH, required=True, help="Folder of the new result.")
def rejudge(
    directory: Path, tolerances: Path | None, floors_file: Path | None, out: Path
) -> None:
    """Judge the saved metrics of a result again, without a run.

    \b
      mmparity rejudge build/parity --floors floors.json --out build/by-floors
      mmparity rejudge build/parity --tolerances stricter.toml --out build/stricter
    """
    from mmparity.compare.floors import read_floors
    from mmparity.compare.rejudge import read_rules
    from mmparity.compare.rejudge import rejudge as judge
    from mmparity.compare.result import read_result, write_result
    from mmparity.report import terminal_summary, write_reports

    result = read_result(directory)
    folder = directory if directory.is_dir() else directory.parent
    if out.resolve() == folder.resolve():
        raise MmparityError(f"--out {out} would replace the result that is judged.")
    rules = read_rules(tolerances) if tolerances else ()
    floors = read_floors(floors_file) if floors_file else None
    judged = judge(result, rules, floors, source=str(tolerances or ""))
    with held(out):
        write_result(judged, out)
        paths = write_reports(judged, out, ["html", "markdown", "junit"])
    click.echo(terminal_summary(judged))
    click.echo(f"Report: {paths['html']}")
    sys.exit(EXIT_CODES[judged.verdict])


@click.command(epilog="Exit codes: 0 done, 2 bad input or could not run.")
@click.argument("results", type=PATH, nargs=-1)
@click.option("--measure", "implementation", help="Capture this one's null pairs.")
@click.option("--model", "models", multiple=True, help="Default: qwen2.5-vl-7b.")
@click.option("--case", "cases", multiple=True, help="Default: ragged.")
@click.option("--dtype", "dtypes", multiple=True, help="Default: float32, bfloat16.")
@click.option("--depth", type=click.IntRange(min=2), help="Cut to N blocks.")
@click.option("--device", type=click.Choice(["cpu", "cuda", "npu"]), default="cpu")
@click.option("--checkpoint", type=PATH, help="Default: seeded weights.")
@click.option("--tree", "trees", **TREE)
@click.option("--out", type=PATH, required=True, help="The JSON file to write.")
@click.option(
    "--work",
    type=PATH,
    default=Path("build/floors"),
    help="Folder of the captures, with --measure. Default: build/floors.",
)
def floors(
    results: tuple[Path, ...],
    implementation: str | None,
    out: Path,
    work: Path,
    **given: Any,
) -> None:
    """Measure null floors: what differs where nothing differs in the code.

    With --measure an implementation is captured under 1 and more threads, by its own
    and by other kernels, and each case alone and packed behind another image:

    \b
      mmparity floors --measure vllm-0.12.0 --depth 4 --out floors.json

    Without it, from RESULTS that compare an implementation with itself.
    """
    from mmparity.compare.floors import measure_floors, write_floors
    from mmparity.compare.result import read_result

    if bool(results) == bool(implementation):
        raise click.UsageError("give either RESULTS or --measure IMPL")
    if out.is_dir():
        raise MmparityError(f"--out {out} is a folder; give the JSON file to write.")
    check_writable([out])
    read = [read_result(path) for path in results]
    if implementation:
        read = [_null_pairs(implementation, work, given)]
    measured = measure_floors(read)
    write_floors(measured, out)
    rows: Any = sum(len(names) for names in measured.errors.values())
    click.echo(f"{out}: {rows} floors from {len(measured.sources)} null pairs")


def _null_pairs(
    implementation: str, work: Path, given: Mapping[str, Any]
) -> ComparisonResult:
    from mmparity.run.null_pairs import measure_null_pairs
    from mmparity.run.plan import Options
    from mmparity.run.planning import make_capture_plan
    from mmparity.run.progress import ProgressDisplay
    from mmparity.workload.implementations import IMPLEMENTATIONS

    cases = given["cases"] or ("ragged",)
    options = Options(out=work, keep_traces=False, **{**given, "cases": cases})
    plan = make_capture_plan(options, implementation, IMPLEMENTATIONS)
    steps = 4 * len(plan.cases) * len(plan.dtypes)
    with held(work), ProgressDisplay(steps) as display:
        return measure_null_pairs(
            plan, implementation, lambda event: display.event(implementation, event)
        )
