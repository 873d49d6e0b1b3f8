# SPDX-License-Identifier: Apache-2.0
"""The traces in a folder, by case and dtype."""

from __future__ import annotations

from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.trace.manifest import MANIFEST
from mmparity.trace.reader import TraceReader

Key = tuple[str, str]


Traces = dict[Key, TraceReader]


def manifests_in(folder: Path) -> list[Path]:
    """Every ``trace.json`` in a folder.

    Hidden folders inside are left out: they hold traces of single ranks and copies
    on their way, which a killed command leaves behind.
    """
    found = sorted(Path(folder).rglob(MANIFEST))
    inside = [file.relative_to(folder).parts for file in found]
    pairs = zip(found, inside, strict=True)
    return [file for file, parts in pairs if not any(p.startswith(".") for p in parts)]


def find_traces(folder: Path, *, statistics: bool = False) -> Traces:
    """Every whole trace in a folder, by case and dtype."""
    found: Traces = {}
    for manifest in manifests_in(folder):
        trace = TraceReader(manifest.parent, statistics=statistics)
        key = trace.meta.case, trace.meta.dtype
        if key in found:
            raise MmparityError(
                f"{folder} has two traces of {key[0]} in {key[1]}: "
                f"{found[key].directory} and {trace.directory}. Name one of them."
            )
        found[key] = trace
    if not found:
        raise MmparityError(
            f"{folder} has no whole trace ({MANIFEST}). "
            "Make one: `mmparity capture IMPL --out DIR`."
        )
    return found
