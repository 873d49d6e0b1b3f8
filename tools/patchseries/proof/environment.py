# SPDX-License-Identifier: Apache-2.0
"""What tests and gates of a tree run with: an interpreter, and what is beside it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.files import read_utf8
from patchseries.git import bare_environment
from patchseries.pins.sources import Source
from patchseries.project import Project

_DROPPED = ("PYTHONPATH", "PYTHONHOME", "RUFF_", "MYPY", "PYTEST_", "VLLM_")


@dataclass(frozen=True)
class Environment:
    """A folder of installed packages with an interpreter.

    Attributes:
        name: what `make setup ENV=` calls it; empty for the one that this runs in.
        python: its interpreter.
    """

    name: str
    python: Path

    @property
    def way(self) -> str:
        """The command that makes it."""
        return f"make setup ENV={self.name}" if self.name else "make setup"

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """The version of each distribution that it has, empty where it has none."""
        root, paths = self.python.parent.parent, sys.path
        versions = {"python": platform.python_version()}
        if self.name:
            paths = [str(path) for path in root.glob("lib/python*/site-packages")]
            versions = {"python": _version_of(root)}
        for name in names:
            found = importlib.metadata.distributions(name=name, path=paths)
            versions[name] = next((one.version for one in found), "")
        return versions

    def variables(self, folder: Path) -> Mapping[str, str]:
        """Its programs first, nothing that steers git or pytest.

        Args:
            folder: the scratch checkout that programs run in.
        """
        env = {
            name: value
            for name, value in bare_environment(folder.parent).items()
            if not name.startswith(_DROPPED)
        }
        programs = str(self.python.parent)
        return env | {
            "PATH": os.pathsep.join([programs, env.get("PATH", os.defpath)]),
            "MYPY_CACHE_DIR": str(folder / ".git" / "mypy"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def environment_of(project: Project, source: Source) -> Environment:
    """The environment that a pinned tree names, which must be there.

    Raises:
        PatchseriesError: it was not made yet.
    """
    if not source.environment:
        return Environment("", Path(sys.executable))
    found = Environment(
        source.environment, project.environment(source.environment) / "bin" / "python"
    )
    if not found.python.exists():
        raise PatchseriesError(
            "no-environment",
            f"the tests and gates of {source.tree_name} run with {found.python}, which"
            " does not exist",
            found.way,
        )
    return found


def _version_of(folder: Path) -> str:
    """The version of the interpreter of a virtual environment."""
    try:
        lines = read_utf8(folder / "pyvenv.cfg").splitlines()
    except FileNotFoundError:
        return ""
    pairs = {k.strip(): v.strip() for k, _, v in (x.partition("=") for x in lines)}
    return pairs.get("version_info") or pairs.get("version", "")
