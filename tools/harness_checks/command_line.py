# SPDX-License-Identifier: Apache-2.0
"""How a check's own command ends where it could not run: with exit code 2."""

from __future__ import annotations

import sys
import traceback

import click

from mmparity.errors import MmparityError


def run(command: click.Command) -> None:
    """Runs a command; what a user can mend is one message. 1 is the command's own."""
    try:
        command.main(standalone_mode=False)
        return
    except click.ClickException as error:
        error.show()
    except MmparityError as error:
        click.echo(f"mmparity: {error}", err=True)
    except click.Abort:
        click.echo("interrupted", err=True)
    except Exception:
        traceback.print_exc()
    sys.exit(2)
