# SPDX-License-Identifier: Apache-2.0
"""What figures are worth nothing without: machine, versions, options, the command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from harness_checks.bench.costs import Conditions
from mmparity import provenance
from mmparity.extras import EXTRAS


def conditions(module: str, packages: Iterable[str], **options: Any) -> Conditions:
    """Of a measurement that starts now, by ``python -m module``."""
    path = [*sys.path, str(EXTRAS / "peers")]
    versions = {
        name: dist.version
        for name in packages
        for dist in metadata.distributions(name=name, path=path)
    }
    words = sys.argv[1:]
    if "--json" in words:  # where one writes it is of no interest to others
        at = words.index("--json")
        del words[at : at + 2]
    return Conditions(
        command=shlex.join(["python", "-m", module, *words]),
        created=provenance.now(),
        machine=provenance.machine(),
        versions=versions,
        **options,
    )


def device_name(device: str) -> str:
    """``cpu``, or what the device calls itself."""
    if device == "cpu":
        return device
    import torch

    return str(getattr(torch, device).get_device_name())


def sentence(of: Conditions) -> str:
    """The same in words, as it stands above a table."""
    machine = of.machine
    versions = ", ".join(f"{name} {v}" for name, v in of.versions.items())
    return (
        f"`{of.command}`, {of.created[:10]}, {machine.cpus} cores of "
        f"{machine.processor}, {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{of.threads} threads; {versions}."
    )
