# SPDX-License-Identifier: Apache-2.0
"""The packages of this interpreter, against a lock and against what we ask for."""

from __future__ import annotations

import importlib.metadata as metadata
import sys
from pathlib import Path


def locked_versions(lock: Path) -> dict[str, str]:
    """Package -> version that the lock wants on this machine."""
    from packaging.requirements import Requirement

    versions = {}
    for line in lock.read_text().splitlines():
        if line and line[0].isalnum():
            wanted = Requirement(line.removesuffix("\\"))
            if wanted.marker is None or wanted.marker.evaluate():
                versions[wanted.name] = str(wanted.specifier).removeprefix("==")
    return versions


def installed_version(package: str, environment: Path | None = None) -> str | None:
    """The installed version, or None.

    Args:
        environment: folder of a virtual environment; that of this process if None.
    """
    paths = sys.path if environment is None else _site_packages(environment)
    found = metadata.distributions(name=package, path=paths)
    return next((one.version for one in found), None)


def _site_packages(environment: Path) -> list[str]:
    return [str(folder) for folder in environment.glob("lib/python*/site-packages")]


def unmet(extra: str) -> list[str]:
    """What our own package asks for with that extra, and is not here in its version."""
    from packaging.requirements import Requirement

    wanted = [Requirement(r) for r in metadata.requires("vllm-encoder-parity") or ()]
    asked = [r for r in wanted if not r.marker or r.marker.evaluate({"extra": extra})]
    found = {item.name: installed_version(item.name) for item in asked}
    bad = [
        item.name
        for item in asked
        if not item.specifier.contains(found[item.name] or "", prereleases=True)
        or found[item.name] is None
    ]
    return list(dict.fromkeys(bad))
