# SPDX-License-Identifier: Apache-2.0
"""Versions in their own order, which is not that of their text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from packaging.version import InvalidVersion, Version


def in_order(texts: Iterable[str]) -> list[str]:
    """Versions, the oldest first; what is no version is left out.

    >>> in_order({"0.33.0", "0.9.2", "0.33.0rc1", "nightly"})
    ['0.9.2', '0.33.0rc1', '0.33.0']
    """
    versions = {text: found for text in texts if (found := _version(text))}
    return sorted(versions, key=lambda text: (versions[text], text))


def closest(text: str, known: Iterable[str]) -> str:
    """The known version nearest to one that is written so; empty where there is none.

    >>> closest("0.33", ["0.3.3", "0.30.0", "0.33.0rc1", "0.33.0", "0.34.0"])
    '0.33.0'
    """
    meant = _version(text)
    if meant is None:
        return ""

    def distance(one: str) -> tuple[list[int], bool, bool]:
        version = Version(one)
        pairs = zip_longest(version.release, meant.release, fillvalue=0)
        numbers = [abs(a - b) for a, b in pairs]
        return numbers, version != meant, version.is_prerelease != meant.is_prerelease

    return min(in_order(known), key=distance, default="")


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
