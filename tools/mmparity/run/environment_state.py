# SPDX-License-Identifier: Apache-2.0
"""What an environment beside .venv has of what its implementations need."""

from __future__ import annotations

import re
from pathlib import Path

from mmparity.run.packages import installed_version
from mmparity.workload.implementation import BASE
from mmparity.workload.implementations import IMPLEMENTATIONS


def trees_of(environment: str) -> list[str]:
    """The trees that the implementations of an environment run from.

    Of ``base``, those that `make sources` and `make apply` make: an optional one, as
    an older release, comes by name.
    """
    given = [
        item
        for item in IMPLEMENTATIONS.values()
        if item.environment == environment
        and not (item.optional and environment == BASE)
    ]
    return sorted({tree for item in given for tree in item.trees.values()})


def environment_state(name: str, root: Path) -> tuple[str, str]:
    """What is there, in words, and the command that makes what is not.

    Args:
        root: the project's folder.
    """
    folder, sources = root / f".venv-{name}", root / "vllm_src"
    torch = installed_version("torch", folder)
    if torch is None:
        return "its releases have no environment yet", f"make setup ENV={name}"
    trees = trees_of(name)
    absent = [tree for tree in trees if not (sources / tree).is_dir()]
    wanted = [f"{tree} asks for {pin}" for tree, pin in _pins(sources, trees)]
    detail = f"torch {torch}" + (f" ({', '.join(wanted)})" if wanted else "")
    detail += f", transformers {installed_version('transformers', folder)}"
    if absent:
        fix = "patchseries fetch --all && patchseries apply"
        return f"{detail}; not there: {shorten(absent)}", fix
    return f"{detail}; {len(trees)} trees in vllm_src/", ""


def shorten(names: list[str], limit: int = 4) -> str:
    """The first few of a list."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _pins(sources: Path, trees: list[str]) -> list[tuple[str, str]]:
    """Tree -> the torch that its build needs, where it is a release that says so."""
    found = []
    for tree in trees:
        file = sources / tree / "pyproject.toml"
        text = file.read_text() if file.is_file() and "/" not in tree else ""
        if pin := re.search(r'"torch *== *([\w.+-]+)"', text):
            found.append((tree, pin[1]))
    return found
