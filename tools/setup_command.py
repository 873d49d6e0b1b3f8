# SPDX-License-Identifier: Apache-2.0
"""What the set-up commands share: their error, exit status and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class SetupError(Exception):
    """Something the user can mend; the message says what and what next."""


def forget_environment() -> None:
    """An activated environment or a pinned python is not what is asked for."""
    for name in ("VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT"):
        os.environ.pop(name, None)


def status_of(work: Callable[[], object]) -> int:
    """The exit status of a command that does this: 0 done, 2 could not."""
    try:
        work()
    except SetupError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0
