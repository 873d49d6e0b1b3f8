# SPDX-License-Identifier: Apache-2.0
"""What runs a side's vLLM: this machine's CPU, or a Python that has it installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmparity.engine.offline import overlay, sides
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS
from mmparity.processes import TOOLS, Group, started, tail_of
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import find_trees


@dataclass(frozen=True)
class Runner:
    """A Python with a vLLM, and its environment.

    Attributes:
        name: the side, or the path that was given.
        python: its interpreter.
        environment: all of it.
        on_cpu: whether it is a side of the project on this machine's CPU.
    """

    name: str
    python: str
    environment: dict[str, str] = field(repr=False)
    on_cpu: bool = False

    def command(self, *arguments: str) -> list[str]:
        """Of vLLM's command line."""
        return [self.python, "-m", "vllm.entrypoints.cli.main", *arguments]


def runner(given: str) -> Runner:
    """A side by name, or the Python at a path.

    Raises:
        MmparityError: neither, or the side cannot run here.
    """
    if os.sep in given:
        python = shutil.which(str(Path(given).expanduser()))
        if python is None:
            raise MmparityError(
                f"{given} is no program. Give the python that has vLLM installed, or "
                f"one of: {', '.join(sides.SIDES)}"
            )
        environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1"}
        return Runner(given, python, environment)
    side = sides.get(given)
    trees = find_trees((given,), (), IMPLEMENTATIONS)[given]
    environment = overlay.environment(side, overlay.make(side, trees))
    return Runner(given, sys.executable, environment, on_cpu=True)


def installed() -> str:
    """This python where it has a vLLM, as on a machine with an accelerator."""
    return sys.executable if importlib.util.find_spec("vllm") else ""


def with_extra(given: Runner, extra: str, module: str) -> Runner:
    """With the packages of ``make setup EXTRA=...``; an installed vLLM brings its own.

    Raises:
        MmparityError: the module is not there.
    """
    environment = dict(given.environment)
    hint = f"make setup EXTRA={extra}"
    if given.python == sys.executable:
        paths = (environment.get("PYTHONPATH"), str(EXTRAS / extra))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    else:
        hint = f"{given.python} -m pip install {module}"
    probe = f"import importlib.util as u, sys; sys.exit(not u.find_spec({module!r}))"
    if subprocess.run([given.python, "-c", probe], env=environment).returncode:
        raise MmparityError(f"{given.name} has no {module}. Run `{hint}`.")
    return replace(given, environment=environment)


def run(
    command: Sequence[str], environment: dict[str, str], log: Path, what: str
) -> None:
    """Runs to its end, its output in ``log``; what it started ends with it.

    Raises:
        MmparityError: it failed; with the end of its log.
    """
    process = start(command, environment, log)
    try:
        status = process.wait()
    finally:
        process.end()
    if status:
        raise MmparityError(f"{what} ended with status {status}.\n{tail(log)}")


def start(command: Sequence[str], environment: dict[str, str], log: Path) -> Group:
    """Starts it, with all that it says in its log."""
    given = (command, log, environment, subprocess.DEVNULL, TOOLS.parent)
    return started(*given, answers=False)


def tail(log: Path) -> str:
    """The end of a log, and where it is."""
    return f"{tail_of(log)}\nIts log: {log}"
