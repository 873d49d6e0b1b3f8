# SPDX-License-Identifier: Apache-2.0
"""The command line. Parses, calls, prints; torch is imported by what needs it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from mmparity.commands import judge
from mmparity.commands.capture import capture
from mmparity.commands.compare import compare
from mmparity.commands.demo import demo
from mmparity.commands.doctor import doctor
from mmparity.commands.engine import engine
from mmparity.commands.grouped import HelpContext
from mmparity.commands.list import list_names
from mmparity.commands.machines import machines
from mmparity.commands.options import EPILOG
from mmparity.commands.report import report
from mmparity.commands.run import run
from mmparity.commands.serve import accuracy, serve, serve_compare
from mmparity.commands.watch import watch
from mmparity.commands.year import year
from mmparity.errors import MmparityError
from mmparity.files import NO_ROOM, cannot_write
from mmparity.stored_json import printable


class _Group(click.Group):
    """Turns what a user can mend into one message and exit code 2."""

    context_class = HelpContext

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.context_class = HelpContext
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MmparityError as error:
            click.echo(f"mmparity: {printable(str(error))}", err=True)
        except BrokenPipeError:  # whoever reads it has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(128 + signal.SIGPIPE)
        except OSError as error:
            click.echo(f"mmparity: {_of_disk(error)}", err=True)
        except KeyboardInterrupt:
            click.echo("mmparity: interrupted", err=True)
        ctx.exit(2)


def _of_disk(error: OSError) -> str:
    """What an error says that no command foresaw; of a full disk, how full it is."""
    if error.errno in NO_ROOM and error.filename:
        return str(cannot_write(Path(os.fsdecode(error.filename)), error))
    return f"{error}. Is the disk full or read-only?"


@click.group(cls=_Group, epilog=EPILOG, context_settings={"max_content_width": 88})
@click.version_option(package_name="vllm-encoder-parity")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file that adds an implementation (docs/adding-an-encoder.md).",
)
def main(encoders: tuple[Path, ...]) -> None:
    """Compare vision encoders, layer by layer, across implementations."""
    # A caller in Python may give what starts workers as ``obj``.
    from mmparity.workload.implementations import add_file

    for file in encoders:
        add_file(file)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)


for command in (
    run,
    watch,
    capture,
    compare,
    report,
    doctor,
    list_names,
    judge.diff,
    judge.rejudge,
    judge.floors,
    accuracy,
    demo,
    machines,
    serve,
    serve_compare,
    engine,
    year,
):
    main.add_command(command)
