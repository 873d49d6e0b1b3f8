# SPDX-License-Identifier: Apache-2.0
"""The chart of a year: a line for each release, a cell for each layer and dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from mmparity.report.year import Release, errors_of, layers_of

LABEL, LINE, CELL, GAP, HEAD = 186, 24, 58, 18, 46
_LIGHT, _DARK = (0xEA, 0xF2, 0xFB), (0x1B, 0x4F, 0x8F)
_FONT = "font-family='system-ui,sans-serif' font-size='11'"
_SHORT = {"embeddings": "embed", "last_hidden_state": "output"}


def chart(found: Sequence[Release]) -> str:
    """An SVG of every error against the oracle, darker where it is larger.

    A finding is a mark before the name; the numbers are in the cells, so that colour
    is not all that tells.
    """
    layers = layers_of(found)
    dtypes = list(dict.fromkeys(dtype for item in found for dtype in item.errors))
    panel = len(layers) * CELL
    width = LABEL + len(dtypes) * (panel + GAP)
    height = HEAD + len(found) * LINE + 10
    lefts = {dtype: LABEL + i * (panel + GAP) for i, dtype in enumerate(dtypes)}
    body = [_heads(dtype, layers, left) for dtype, left in lefts.items()]
    for place, item in enumerate(found):
        top = HEAD + place * LINE
        body.append(_name(item, top))
        for dtype, left in lefts.items():
            scale = [
                e
                for one in found
                for e in errors_of({dtype: one.errors.get(dtype, {})})
            ]
            body.append(_cells(item, dtype, layers, left, top, scale))
    title = "Normalized L2 error against the oracle by release, dtype and layer"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" {_FONT}><title>{title}</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _heads(dtype: str, layers: Sequence[str], left: int) -> str:
    middle = left + len(layers) * CELL / 2
    words = [_text(middle, 16, dtype, "middle", "#111", bold=True)]
    for i, name in enumerate(layers):
        x = left + (i + 0.5) * CELL
        words.append(_text(x, HEAD - 8, _SHORT.get(name, name), "middle", "#444"))
    return "".join(words)


def _name(item: Release, top: int) -> str:
    mark = "✗ " if item.findings or item.failed else ""
    colour = "#a3140f" if mark else "#111"
    return _text(LABEL - 8, top + 16, f"{mark}{item.name}", "end", colour)


def _cells(
    item: Release,
    dtype: str,
    layers: Sequence[str],
    left: int,
    top: int,
    scale: Sequence[float],
) -> str:
    errors = item.errors.get(dtype, {})
    if not errors:
        return _text(left + 6, top + 16, "no result", "start", "#a3140f")
    drawn = []
    for i, name in enumerate(layers):
        if name not in errors:
            continue
        x, share = left + i * CELL, _share(errors[name], scale)
        drawn.append(
            f'<rect x="{x}" y="{top + 1}" width="{CELL - 2}" height="{LINE - 2}" '
            f'fill="{_colour(share)}"/>'
        )
        ink = "#fff" if share > 0.5 else "#111"
        middle = x + (CELL - 2) / 2
        drawn.append(_text(middle, top + 16, f"{errors[name]:.1e}", "middle", ink))
    return "".join(drawn)


def _share(value: float, scale: Sequence[float]) -> float:
    """Where an error is between the least and the largest, on a log axis."""
    positive = [math.log10(v) for v in scale if 0 < v < math.inf]
    if not positive or value <= 0:
        return 0.0
    if not math.isfinite(value):
        return 1.0
    low, high = min(positive), max(positive)
    return (math.log10(value) - low) / (high - low) if high > low else 0.0


def _colour(share: float) -> str:
    mixed = (round(a + (b - a) * share) for a, b in zip(_LIGHT, _DARK, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _text(
    x: float, y: float, text: str, anchor: str, colour: str, *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"{weight}>'
        f"{escape(text)}</text>"
    )
