# SPDX-License-Identifier: Apache-2.0
"""A series as an installed package sees it: without tests, docs and build files."""

from __future__ import annotations

import os
from dataclasses import replace

from patchseries.series.patch import Patch
from patchseries.series.series import Series
from patchseries.tree.target import PackageTarget, Target


def in_scope(series: Series, target: Target) -> Series:
    """What of a series is for the target: all of it, or a package's own files."""
    if not isinstance(target, PackageTarget):
        return series
    patches = (_only(patch, f"{target.package}/") for patch in series.patches)
    return Series(series.name, tuple(patch for patch in patches if patch.changes))


def _only(patch: Patch, prefix: str) -> Patch:
    changes = tuple(c for c in patch.changes if c.path.startswith(prefix))
    head, *sections = patch.data.split(b"\ndiff --git ")
    kept = [s for s in sections if s.startswith(os.fsencode(f"a/{prefix}"))]
    ends = [s if s.endswith(b"\n") else s + b"\n" for s in kept]
    data = head + b"".join(b"\ndiff --git " + s.removesuffix(b"\n") for s in ends)
    return replace(patch, data=data + b"\n", changes=changes)
