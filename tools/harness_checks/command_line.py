# SPDX-License-Identifier: Apache-2.0
"""How a check's own command ends where something is wrong that a user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from mmparity.errors import MmparityError


def run(command: Callable[[], object]) -> None:
    """Runs a command; what a user can mend is one message and exit code 2."""
    try:
        command()
    except MmparityError as error:
        click.echo(f"mmparity: {error}", err=True)
        sys.exit(2)
