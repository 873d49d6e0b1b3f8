# SPDX-License-Identifier: Apache-2.0
"""Results that earlier versions wrote, as this one reads them. Raw JSON in and out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmparity.structure import KINDS
from mmparity.types import SCHEMA_VERSION

_KEY = re.compile(r"\['(.*?)'\]|\[\"(.*?)\"\]|\[(\d+)\]")


def upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """The result in today's form; one of an unknown version as it is."""
    version = raw.get("schema_version")
    while isinstance(version, int) and version in _STEPS and version < SCHEMA_VERSION:
        raw = _STEPS[version](raw)
        version = raw["schema_version"]
    return raw


def _from_1(raw: dict[str, Any]) -> dict[str, Any]:
    """Version 1 listed structural differences as deepdiff did, and judged none."""
    cases = [
        {**case, "structure": list(_listed(case.get("structure") or {}))}
        for case in raw.get("cases", ())
    ]
    return {**raw, "cases": cases, "schema_version": 2}


def _listed(structure: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part, kinds in structure.items():
        for kind, items in kinds.items():
            for path, value in items.items():
                keys = ["".join(found) for found in _KEY.findall(path)]
                old, new = _values(kind, value)
                yield {
                    "part": part,
                    "kind": KINDS.get(kind, "changed"),
                    "path": " / ".join(keys) or path,
                    "blocks": [],
                    "old": old,
                    "new": new,
                    "verdict": "not judged",
                    "patch": "",
                    "why": "",
                }


def _values(kind: str, value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping) and "old_value" in value:
        return str(value["old_value"]), str(value.get("new_value"))
    return ("", str(value)) if kind.endswith("_added") else (str(value), "")


_STEPS = {1: _from_1}
