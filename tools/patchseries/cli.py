# SPDX-License-Identifier: Apache-2.0
"""The command line: its group, and how an error ends."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path

import click

import patchseries
from patchseries.commands.apply import apply
from patchseries.commands.check import check
from patchseries.commands.fetch import fetch
from patchseries.commands.forecast import forecast_command
from patchseries.commands.help import HelpContext
from patchseries.commands.pr_body import pr_body
from patchseries.commands.rebase import rebase
from patchseries.commands.refresh import refresh
from patchseries.commands.status import status
from patchseries.commands.unapply import unapply
from patchseries.commands.upstream import test_upstream
from patchseries.commands.verify import verify_python
from patchseries.errors import PatchseriesError, as_refusal
from patchseries.project import Project
from patchseries.tree.project_files import settle_files


class _Commands(click.Group):
    """Ends whatever goes wrong in one message and exit status 2."""

    context_class = HelpContext

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.context_class = HelpContext
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> object:
        if isinstance(sys.stdout, TextIOWrapper):  # names of files are bytes
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads it has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except (PatchseriesError, OSError, UnicodeError, KeyboardInterrupt) as error:
            click.echo(f"patchseries: {as_refusal(error)}", err=True)
            sys.exit(2)


@click.group(cls=_Commands, help=patchseries.__doc__)
@click.version_option(package_name="vllm-encoder-parity")
@click.option(
    "--project",
    "root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Checkout that holds patches/ and vllm_src/ [default: this one].",
)
@click.pass_context
def main(ctx: click.Context, root: Path | None) -> None:
    """The command group."""
    ctx.obj = Project(root.resolve()) if root else Project.here()
    settle_files(ctx.obj)


for command in (
    fetch,
    apply,
    unapply,
    refresh,
    status,
    check,
    rebase,
    forecast_command,
    test_upstream,
    verify_python,
    pr_body,
):
    main.add_command(command)
