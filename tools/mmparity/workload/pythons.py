# SPDX-License-Identifier: Apache-2.0
"""Whose Python runs each implementation; an environment is made when first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.errors import MmparityError
from mmparity.project import ROOT, environment_python, known
from mmparity.workload.implementation import BASE
from mmparity.workload.trees import check_used

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation


def find_pythons(
    names: Iterable[str],
    given: Iterable[str],
    implementations: dict[str, Implementation],
) -> dict[str, str]:
    """Implementation -> its Python, where that is not the one of this process.

    ``--python`` comes before the implementation's environment.
    """
    named = dict(parse_python(text, implementations) for text in given)
    found = {}
    for name in names:
        environment = implementations[name].environment
        if name in named:
            found[name] = named[name]
        elif implementations[name].installed:
            raise MmparityError(
                f"{name} is the vLLM that some Python imports: give --python "
                f"{name}=/path/to/python, as its venv's bin/python."
            )
        elif environment != BASE:
            found[name] = str(ready(environment))
    return found


def parse_python(
    text: str, implementations: dict[str, Implementation]
) -> tuple[str, str]:
    """Implementation and interpreter of a ``--python``."""
    name, equals, python = text.partition("=")
    if not (equals and python):
        raise MmparityError(
            f"--python {text!r} is not IMPL=PYTHON, for example "
            "installed=/path/to/venv/bin/python"
        )
    name = known("implementation", name, implementations).name
    path = Path(python).expanduser().absolute()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise MmparityError(f"--python {text!r}: {path} is no program that can run.")
    return name, str(path)


def check_pythons_used(
    options: Iterable[str],
    names: Iterable[str],
    implementations: dict[str, Implementation],
) -> None:
    """Refuses a ``--python`` that nothing would run, and one of two for one side."""
    given = ((text, parse_python(text, implementations)[:1]) for text in options)
    check_used("--python", given, names)


def ready(environment: str) -> Path:
    """The Python of an environment, which is made where it is not there."""
    python = environment_python(environment)
    if (python.parents[1] / "setup.json").is_file():
        return python
    command = [sys.executable, str(ROOT / "tools/setup_environment.py"), environment]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise MmparityError(
            f"the environment {environment!r} could not be made: the reason is above. "
            f"`make setup ENV={environment}` tries again."
        )
    return python
