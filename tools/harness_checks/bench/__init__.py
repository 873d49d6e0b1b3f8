# SPDX-License-Identifier: Apache-2.0
"""What the encoders cost, each against the one it replaces, in one run.

``__main__`` starts a worker per implementation and asks them in turn, so that
whatever else the machine does falls on both; the ratio of the minima is what
counts. Never a test: nothing here has a limit that could fail.
"""

from __future__ import annotations

import sys

from rich.console import Console


def console() -> Console:
    """Where tables go; wide enough for them where that is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 150)
