# SPDX-License-Identifier: Apache-2.0
"""A command of ``mmparity``, as a fork of what has imported its packages."""

from __future__ import annotations

import resource
import signal
from collections.abc import Sequence

from mmparity.cli import main as command


def main(arguments: Sequence[str]) -> int:
    """Runs the words after the first, which is how many bytes a file may have."""
    # What starts tests in the background may have them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    limit = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        command(list(arguments[1:]))
    except SystemExit as end:
        return int(end.code or 0)
    return 0
