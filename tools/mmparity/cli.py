# SPDX-License-Identifier: Apache-2.0
"""The command line. Parses, calls, prints; torch is imported by what needs it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmparity import judging_commands
from mmparity.engine.command import engine
from mmparity.errors import MmparityError
from mmparity.listing import list_names
from mmparity.locks import held
from mmparity.mutants.command import mutants
from mmparity.run.plan import CACHE_GIB
from mmparity.serving.command import accuracy, serve, serve_compare
from mmparity.serving.demo_command import demo
from mmparity.serving.machines_command import machines
from mmparity.types.comparison import ComparisonResult
from mmparity.types.verdict import EXIT_CODES

if TYPE_CHECKING:
    from mmparity.run.plan import Options

FORMATS = ("html", "markdown", "junit", "text")
DEFAULT_OUT = Path("build/parity")
EPILOG = "Exit codes: 0 the same / done, 1 differences, 2 bad input or could not run."


class _Group(click.Group):
    """Turns what a user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MmparityError as error:
            click.echo(f"mmparity: {error}", err=True)
        except BrokenPipeError:  # whoever reads it has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            click.echo(f"mmparity: {error}. Is the disk full or read-only?", err=True)
        except KeyboardInterrupt:
            click.echo("mmparity: interrupted", err=True)
        ctx.exit(2)


@click.group(cls=_Group, epilog=EPILOG, context_settings={"max_content_width": 88})
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file that adds an implementation (docs/adding-an-encoder.md).",
)
def main(encoders: tuple[Path, ...]) -> None:
    """Compare vision encoders, layer by layer, across implementations."""
    from mmparity.workload.implementations import add_file

    for file in encoders:
        add_file(file)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)


def _case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    path = click.Path(path_type=Path)
    options = [
        click.option("--case", "cases", multiple=True, help="Case; repeat for more."),
        click.option(
            "--dtype",
            "dtypes",
            multiple=True,
            help="float32, bfloat16, ...; repeat for more. Default: both.",
        ),
        click.option(
            "--depth", type=click.IntRange(min=2), help="Cut the encoder to N blocks."
        ),
        click.option(
            "--model",
            "--models",
            "models",
            multiple=True,
            help="Whose vision tower: a name, several with commas, or all (cut to "
            "2 blocks). Default: qwen2.5-vl-7b.",
        ),
        click.option("--full-depth", is_flag=True, help="All blocks of all models."),
        click.option(
            "--tp", type=click.IntRange(min=1), default=1, help="Ranks. Default: 1."
        ),
        click.option(
            "--mm-encoder-tp-mode",
            "tp_mode",
            type=click.Choice(["weights", "data"]),
            default="weights",
            help="What is spread over the ranks: weights (the default), or images.",
        ),
        click.option(
            "--device", type=click.Choice(["cpu", "cuda", "npu"]), default="cpu"
        ),
        click.option(
            "--grid", "grids", multiple=True, help="Noise on a patch grid T,H,W."
        ),
        click.option(
            "--checkpoint", type=path, help="Default: seeded weights at real size."
        ),
        click.option(
            "--tree", "trees", multiple=True, help="IMPL:SOURCE=DIR, another tree."
        ),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads."),
        click.option("--fast", is_flag=True, help="4 blocks instead of all."),
        click.option(
            "--out", type=path, default=DEFAULT_OUT, help=f"Default: {DEFAULT_OUT}."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command(epilog=EPILOG)
@click.option("--old", help="Implementation that new is compared with.")
@click.option("--new", help="Implementation that is judged.")
@_case_options
@click.option(
    "--graft",
    type=click.Choice(["failing", "all", "none"]),
    default="failing",
    help="Cases to run once more, new fed with old's tensors: who makes the error.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Spread cases over a Ray cluster (docs/running-on-ray.md); local starts one.",
)
@click.option("--keep-traces", is_flag=True, help="Keep every tensor in OUT/traces.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take what an earlier run captured of the same weights, pixels, trees and "
    "versions from DIR, and keep what is captured there.",
)
@click.option(
    "--cache-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    default=CACHE_GIB,
    help=f"Size of DIR, where what was not used for longest goes. Default: "
    f"{CACHE_GIB:.0f}.",
)
@click.option(
    "--floors",
    "floors_file",
    type=click.Path(path_type=Path),
    help="What `floors` wrote: each row's margin is its error over its null floor.",
)
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json.")
def run(as_json: bool, floors_file: Path | None, **given: Any) -> None:
    """Capture the sides and the oracle, compare, and report.

    Without --old and --new: the released Ascend encoders against the unified one
    with Ascend's operators, and vLLM's encoder against the unified one.

    While patches change, the old sides and the oracle need to run once only:

    \b
      mmparity run --cache build/cache
    """
    from mmparity.compare.floors import read_floors
    from mmparity.compare.rejudge import rejudge
    from mmparity.compare.result import write_result
    from mmparity.run.execute import execute
    from mmparity.run.planning import make_plans
    from mmparity.run.progress import ProgressDisplay, steps_of

    ray = given["ray"]
    if ray is not None and given["cache"] is not None:
        raise MmparityError(
            "--cache is this machine's own and does not go with --ray; leave one out."
        )
    floors = read_floors(floors_file) if floors_file else None
    plans = make_plans(_options(given), _implementations())
    out = plans[0].options.out
    with held(out):
        with ExitStack() as stack:
            crew = None
            if ray is not None:
                from mmparity.run.ray_workers import connected

                crew = stack.enter_context(connected(ray)).workers
            display = stack.enter_context(ProgressDisplay(steps_of(plans)))
            result = execute(plans, display, crew=crew)
        if floors is not None:
            result = rejudge(result, floors=floors)
            write_result(result, out)
        _finish(result, out, as_json)


@main.command(epilog=EPILOG)
@click.argument("implementation")
@_case_options
@click.option("--again", is_flag=True, help="Capture anew what is there already.")
@click.option(
    "--statistics",
    is_flag=True,
    help="Keep each token's norm, ends and a sketch instead of tensors: costs little.",
)
@click.option("--only", default="", help="Keep these hook points; with commas.")
def capture(implementation: str, again: bool, **given: Any) -> None:
    """Capture one implementation's traces, to compare here or elsewhere.

    After an interruption the same command goes on: whole traces of the same weights,
    pixels, trees and versions are kept.

    \b
      mmparity capture unified --fast --statistics --out build/new
      mmparity capture unified --fast --only blocks.0,blocks.0.norm1 --out build/some
    """
    from mmparity.run.execute import capture as capture_one
    from mmparity.run.planning import make_capture_plan
    from mmparity.run.prepare import prepare
    from mmparity.run.progress import ProgressDisplay

    plan = make_capture_plan(_options(given), implementation, _implementations())
    steps = len(plan.cases) * len(plan.dtypes_of(implementation))
    with held(plan.options.out), ProgressDisplay(steps) as display:
        subjects = prepare((plan,))
        capture_one(subjects, implementation, display, again=again)
    click.echo(str(plan.options.out / "traces" / implementation))


@main.command(epilog=EPILOG)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--oracle", type=click.Path(path_type=Path), help="float64 traces.")
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT)
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json.")
@click.option("--old-impl", help="Implementation that OLD is a dump of.")
@click.option("--new-impl", help="Implementation that NEW is a dump of.")
@click.option("--model", help="Of a dump. Default: qwen2.5-vl-7b.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Of a dump: the weights, which its parameters are compared with.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="Of a dump: OUT/inputs/CASE.safetensors with its pixels.",
)
@click.option("--case", help="Of a dump: the case it is. Default: the other side's.")
@click.option("--forward", type=click.IntRange(min=0), default=0, help="Which, from 0.")
@click.option(
    "--assume-same",
    is_flag=True,
    help="Vouch for weights and pixels that cannot be shown to be the same.",
)
def compare(
    old: Path, new: Path, oracle: Path | None, out: Path, as_json: bool, **given: Any
) -> None:
    """Compare traces that `capture` or `run --keep-traces` made.

    OLD and NEW may also be dumps of msprobe (level L0, task tensor):

    \b
      mmparity compare OLD_DUMP build/here --old-impl ascend-0.11.0
    """
    from mmparity.compare.statistics import compare_statistics, holds_statistics
    from mmparity.run.folders import DumpOptions, compare_folders

    with held(out):
        if holds_statistics(old) or holds_statistics(new):
            sys.exit(compare_statistics(old, new, oracle, out, as_json))
        result = compare_folders(old, new, oracle, out, DumpOptions(**given))
        for case in result.cases:
            if case.description:
                click.echo(f"{case.name}: {case.description}", err=True)
        _finish(result, out, as_json)


@main.command(epilog=EPILOG)
@click.argument("directory", type=click.Path(path_type=Path), default=DEFAULT_OUT)
@click.option(
    "--format",
    "formats",
    default=",".join(FORMATS[:3]),
    help="html, markdown, junit, text; several with commas. Default: all files.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in a browser.")
def report(directory: Path, formats: str, show: bool) -> None:
    """Render a comparison.json again; exits with its verdict."""
    from mmparity.compare.result import read_result
    from mmparity.project import known
    from mmparity.report import terminal_summary, write_reports

    names = [known("format", name.strip(), FORMATS) for name in formats.split(",")]
    folder = directory if directory.is_dir() else directory.parent
    files = [name for name in names if name != "text"]
    with held(folder) if files and folder.is_dir() else nullcontext():
        result = read_result(directory)
        if "text" in names:
            click.echo(terminal_summary(result))
        written = write_reports(result, folder, files) if files else {}
    for path in written.values():
        click.echo(str(path))
    if show and "html" in written and click.launch(str(written["html"])):
        click.echo("no browser could be started: open the page yourself", err=True)
    sys.exit(EXIT_CODES[result.verdict])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Say what this machine can run, and what is missing."""
    from mmparity.doctor import main as doctor_main

    sys.exit(doctor_main(as_json))


for command in (
    list_names,
    judging_commands.diff,
    judging_commands.rejudge,
    judging_commands.floors,
    mutants,
    accuracy,
    demo,
    machines,
    serve,
    serve_compare,
    engine,
):
    main.add_command(command)


def _options(given: dict[str, Any]) -> Options:
    from mmparity.run.plan import Options

    return Options(**given)


def _implementations() -> dict[str, Any]:
    from mmparity.workload.implementations import IMPLEMENTATIONS

    return IMPLEMENTATIONS


def _finish(result: ComparisonResult, out: Path, as_json: bool) -> None:
    """Writes the reports, prints the verdict, exits with it."""
    from mmparity.compare.result import to_json
    from mmparity.report import terminal_summary, write_reports

    paths = write_reports(result, out, list(FORMATS[:3]))
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        click.echo(terminal_summary(result))
        click.echo(f"Report: {paths['html']}")
    sys.exit(EXIT_CODES[result.verdict])
