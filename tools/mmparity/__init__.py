# SPDX-License-Identifier: Apache-2.0
"""Compares vision encoders, layer by layer, across implementations.

The way of the data: inputs and a checkpoint -> one worker process per
implementation -> traces on disk -> compare -> ``comparison.json`` -> reports.

Words: *old* and *new* are the two sides of a comparison, *oracle* is the same
encoder in float64; a *hook point* is a place that both sides have, under one
canonical name; a *trace* is the tensors of one forward at all hook points.

In Python (docs/library.md): ``run_parity``, ``capture_traces``, ``compare_folders`` and
``load_result`` do what the commands do and give a ``Result``; ``assert_same`` and
``compare_modules`` hold two torch modules against each other. None of them is imported
before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmparity.errors import MmparityError
    from mmparity.library.results import (
        Result,
        capture_traces,
        compare_folders,
        load_result,
        run_parity,
    )
    from mmparity.library.same import ModuleRow, assert_same, compare_modules
    from mmparity.run.plan import Options

__all__ = [
    "MmparityError",
    "ModuleRow",
    "Options",
    "Result",
    "assert_same",
    "capture_traces",
    "compare_folders",
    "compare_modules",
    "load_result",
    "run_parity",
]

_HOMES = {
    "MmparityError": "errors",
    "Options": "run.plan",
    "ModuleRow": "library.same",
    "assert_same": "library.same",
    "compare_modules": "library.same",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mmparity' has no attribute {name!r}")
    home = _HOMES.get(name, "library.results")
    return getattr(import_module(f"mmparity.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
