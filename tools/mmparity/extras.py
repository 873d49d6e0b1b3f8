# SPDX-License-Identifier: Apache-2.0
"""Optional packages, beside the environment that everything else runs in."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError

EXTRAS = Path(sys.prefix) / "extras"


def import_extra(extra: str, module: str) -> Any:
    """Imports it, with the extra's packages before those of the environment.

    Raises:
        MmparityError: it is not there; with the command that installs it.
    """
    folder = str(EXTRAS / extra)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MmparityError(
            f"{module} is not installed ({error}). Run `make setup EXTRA={extra}`."
        ) from error
