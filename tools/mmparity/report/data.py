# SPDX-License-Identifier: Apache-2.0
"""Every row as compact JSON for the page's script: 10,000 rows in about 1 MiB.

Columns, not rows: a column that another case has already (hook points, paths, old's
error against the oracle) is written once, and a constant one as a single value.
Numbers keep the digits that a reader sees; comparison.json holds them in full.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mmparity.report import labels, maps, rows
from mmparity.report.maps import MapView
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import LayerComparison, Metrics

DIGITS = 3
ELEMENT_DIGITS = 6
DETAILS = (
    "old_oracle_max_token_error",
    "new_oracle_max_token_error",
    "old_oracle_max_abs_diff",
    "new_oracle_max_abs_diff",
)
"""Left out of rows that pass: a quarter of the page for what nobody asks of them."""
BRIEF = (*DETAILS, "mean_abs_diff", "cosine_similarity", "old_at_worst", "new_at_worst")
"""The same of a page that would be large."""
COSINES = ("cosine_similarity", "min_token_cosine")
ELEMENTS = ("old_at_worst", "new_at_worst")
TEXTS: tuple[tuple[str, Callable[[LayerComparison], str]], ...] = (
    ("hook_point", lambda row: row.hook_point),
    ("verdict", lambda row: row.verdict),
    ("reason", rows.reason),
    ("old_path", lambda row: row.old_path),
    ("new_path", lambda row: row.new_path),
    ("old_transforms", lambda row: rows.transforms(row.old_transforms)),
    ("new_transforms", lambda row: rows.transforms(row.new_transforms)),
    ("shape", lambda row: labels.shape(row.shape)),
    ("old_dtype", lambda row: row.old_dtype),
    ("new_dtype", lambda row: row.new_dtype),
    ("allowed", lambda row: rows.tolerance(row.tolerance)),
)


@dataclass(frozen=True)
class Moved:
    """What a page that would be large leaves to its script.

    Attributes:
        diffs: texts by the slug of their patch.
        charts: SVG by the anchor of its case.
    """

    diffs: Mapping[str, str] = field(default_factory=dict)
    charts: Mapping[str, str] = field(default_factory=dict)


def pack(
    cases: Mapping[str, CaseComparison],
    moved: Moved | None = None,
    drawn: Iterable[MapView] = (),
    most: float = math.inf,
) -> str | None:
    """Returns the rows of `cases`, keyed by anchor, safe inside a script element.

    None, without going on, where that has more than `most` characters.
    """
    store = _Store()
    skipped = DETAILS if moved is None else BRIEF
    moved = moved or Moved()
    packed = {}
    for anchor, case in cases.items():
        packed[anchor] = _case(store, case, skipped)
        if store.size > most:
            return None
    parts = {
        "columns": _json([[c.title, c.field] for c in rows.COLUMNS]),
        "labels": _json({f.name: labels.METRIC_NAMES[f.name] for f in fields(Metrics)}),
        "texts": _json([name for name, _ in TEXTS] + ["id", "group"]),
        "maps": _json([_map(store, view) for view in drawn]),
        "levels": _json([bound for bound in maps.LEVELS if bound < math.inf]),
        "strings": _json(list(store.strings)),
        "vectors": f"[{','.join(store.vectors)}]",
        "cases": _json(packed),
        "diffs": _json(dict(moved.diffs)),
        "charts": _json(dict(moved.charts)),
    }
    return in_script("{" + ",".join(f'"{k}":{v}' for k, v in parts.items()) + "}")


@dataclass
class _Store:
    """Strings and columns, each written once and then named by its number."""

    strings: dict[str, int] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    """Text as given -> its number in JSON: most come again in every case."""
    vectors: dict[str, int] = field(default_factory=dict)
    size: int = 0
    """Characters that all of it has at the least."""

    def texts(self, values: Iterable[str]) -> int:
        """Returns the number of a column of strings."""
        return self.vector(self.seen.get(text) or self._number(text) for text in values)

    def _number(self, text: str) -> str:
        cleaned = labels.clean(text, 400)
        if cleaned not in self.strings:
            self.strings[cleaned] = len(self.strings)
            self.size += len(cleaned)
        number = str(self.strings[cleaned])
        self.seen[text] = number
        return number

    def vector(self, tokens: Iterable[str]) -> int:
        """Returns the number of a column; a constant one is stored as one value."""
        listed = list(tokens)
        constant = len(set(listed)) == 1
        text = listed[0] if constant else f"[{','.join(listed)}]"
        if text not in self.vectors:
            self.vectors[text] = len(self.vectors)
            self.size += len(text)
        return self.vectors[text]


def _case(
    store: _Store, case: CaseComparison, skipped: tuple[str, ...]
) -> dict[str, object]:
    layers = case.layers
    columns = {name: store.texts(map(read, layers)) for name, read in TEXTS}
    columns["id"] = store.texts(rows.slugs(layers))
    columns["group"] = store.texts(rows.group_names(layers))
    floors = (number(maps.floor_of(row) or 0, DIGITS) for row in layers)
    columns["floor"] = store.vector(floors)
    for metric in fields(Metrics):
        tokens = (_token(metric.name, layer, skipped) for layer in layers)
        columns[metric.name] = store.vector(tokens)
    return {"rows": len(layers), "columns": columns}


def _map(store: _Store, view: MapView) -> dict[str, object]:
    return {
        "cases": view.cases,
        "width": view.width,
        "names": store.texts(view.names),
        "cells": view.cells,
        "worst": view.worst,
    }


_WORDS = {None: "null", True: "true", False: "false"}


def _token(name: str, layer: LayerComparison, skipped: tuple[str, ...]) -> str:
    left_out = layer.verdict == "pass" and name in skipped
    value = getattr(layer.metrics, name) if layer.metrics and not left_out else None
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, int):
        return str(value)
    if name in COSINES:
        assert layer.metrics is not None
        value = rows.distance(layer.metrics, value)
    return number(value, ELEMENT_DIGITS if name in ELEMENTS else DIGITS)


def number(value: float, digits: int) -> str:
    """Returns the shortest JSON for `digits` significant digits; NaN is a string."""
    if not math.isfinite(value):
        return f'"{labels.scientific(value)}"'
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    whole, _, part = mantissa.partition(".")
    part = part.rstrip("0")
    power = int(exponent) - len(part)
    as_power = f"{whole}{part}e{power}" if power else f"{whole}{part}"
    plain = f"{value:.{digits}g}"
    return min(as_power, plain, key=len) if "e" not in plain else as_power


def compress(text: str) -> str:
    """Returns gzip in base64, which the page's script turns back."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def in_script(text: str) -> str:
    """Returns JSON that can close no element and opens no comment in HTML."""
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
