# SPDX-License-Identifier: Apache-2.0
"""A series as an installed package sees it: without tests, docs and build files."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import replace

from patchseries.errors import PatchseriesError
from patchseries.series import Patch, Series
from patchseries.target import PackageTarget, Target

_SITES = ("site-packages", "dist-packages")


def in_scope(series: Series, target: Target) -> Series:
    """What of a series is for the target: all of it, or a package's own files."""
    if not isinstance(target, PackageTarget):
        return series
    patches = (_only(patch, f"{target.package}/") for patch in series.patches)
    return Series(series.name, tuple(patch for patch in patches if patch.changes))


def require_package(series: Series, target: Target) -> None:
    """Refuse a folder of installed packages in favour of the one that is meant."""
    packages = target.root.name in _SITES or any(target.root.glob("*.dist-info"))
    if type(target) is not Target or not packages:
        return
    names = Counter(path.partition("/")[0] for path in series.paths)
    there = [n for n, _ in names.most_common() if (target.root / n).is_dir()]
    raise PatchseriesError(
        "installed-packages",
        f"{target.root} holds installed packages and is no source tree",
        f"`--onto {shlex.quote(str(target.root / there[0]))}`"
        if there
        else f"none of them is what {series.name} is for",
    )


def _only(patch: Patch, prefix: str) -> Patch:
    changes = tuple(c for c in patch.changes if c.path.startswith(prefix))
    head, *sections = patch.data.split(b"\ndiff --git ")
    kept = [s for s in sections if s.startswith(os.fsencode(f"a/{prefix}"))]
    ends = [s if s.endswith(b"\n") else s + b"\n" for s in kept]
    data = head + b"".join(b"\ndiff --git " + s.removesuffix(b"\n") for s in ends)
    return replace(patch, data=data + b"\n", changes=changes)
