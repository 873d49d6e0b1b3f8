# SPDX-License-Identifier: Apache-2.0
"""Whose Python runs each implementation; an environment is made when first needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.errors import MmparityError
from mmparity.processes import TOOLS
from mmparity.project import ROOT, environment_python, known
from mmparity.workload.implementation import BASE
from mmparity.workload.trees import check_used

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation

OF_A_WORKER = (
    *("torch", "transformers", "safetensors", "numpy"),
    *("psutil", "blake3", "filelock", "pydantic"),
)
"""What a worker imports, whatever it captures; vLLM itself comes beside it."""
_PATIENCE_S = 60
_ASK = """\
import importlib.util, json, sys
found = [(name, importlib.util.find_spec(name)) for name in sys.argv[1:]]
print(json.dumps([name for name, spec in found if not (spec and spec.origin)]))
"""
"""Nothing is imported: that is the worker's part, and takes long."""


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


def check_pythons_run(
    pythons: Mapping[str, str], implementations: Mapping[str, Implementation]
) -> None:
    """Refuses the Python of an implementation that cannot run a worker of it."""
    for name, python in pythons.items():
        own = ("vllm",) if implementations[name].installed else ()
        if lacks := _lacking(python, (*own, *OF_A_WORKER)):
            raise MmparityError(
                f"{name}: {python} has no {', '.join(lacks)}: give the Python that "
                f"runs vLLM, or install {'them' if len(lacks) > 1 else 'it'} there."
            )


@cache
def _lacking(python: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the packages that a Python does not find, as a worker would be run."""
    path = os.pathsep.join(filter(None, (str(TOOLS), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [python, "-c", _ASK, *packages],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
            cwd=TOOLS,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        raise _refused(python, f"did not answer in {_PATIENCE_S} s") from None
    except OSError as error:
        raise _refused(python, f"does not start: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise _refused(python, f"ended with {done.returncode}: {last}")
    try:
        return tuple(map(str, json.loads(done.stdout.splitlines()[-1])))
    except (IndexError, ValueError, TypeError):
        raise _refused(python, "is no Python that answers") from None


def _refused(python: str, why: str) -> MmparityError:
    return MmparityError(
        f"{python} {why}. Give the Python that runs vLLM, as its venv's bin/python."
    )


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
