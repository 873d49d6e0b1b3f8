# SPDX-License-Identifier: Apache-2.0
"""Token maps as pictures: a strip of all tokens, and a map on each image's grid."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import labels
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import TokenMap

DECADES = 3
"""Errors this many powers of ten below the largest have the lightest colour."""
LIGHT, DARK = (255, 241, 229), (122, 4, 3)
EXACT = (225, 228, 232)
"""Tokens without any difference."""

RAMP = 62
"""Colours from LIGHT to DARK; with EXACT they make a palette."""
PALETTE = [
    EXACT,
    *(
        tuple(
            round(light + (dark - light) * step / (RAMP - 1))
            for light, dark in zip(LIGHT, DARK, strict=True)
        )
        for step in range(RAMP)
    ),
]


@dataclass(frozen=True)
class ImageMap:
    """One image or clip: its map, and its picture where there is one."""

    heat: str
    picture: str
    title: str


@dataclass(frozen=True)
class TokensView:
    """One failing row, token by token."""

    hook_point: str
    summary: str
    strip: str
    images: tuple[ImageMap, ...]
    elements: tuple[tuple[str, str, str], ...]
    """Index, old, new."""
    statistics: tuple[tuple[str, str, str], ...]


def views(case: CaseComparison) -> tuple[TokensView, ...]:
    """Returns a view of each token map; bytes depend on the map alone."""
    return tuple(_view(case, item) for item in case.token_maps if item.errors)


def _view(case: CaseComparison, item: TokenMap) -> TokensView:
    finite = [error for error in item.errors if math.isfinite(error)]
    top = max(finite, default=0.0)
    colours = [_colour(error, top) for error in item.errors]
    worst = max(range(len(item.errors)), key=lambda i: _weight(item.errors[i]))
    differing = sum(error != 0 for error in item.errors)
    summary = (
        f"{differing:,} of {len(item.errors):,} tokens differ; worst token {worst}: "
        f"{labels.scientific(item.errors[worst])}"
    )
    images, place = _images(case, item, colours, worst)
    return TokensView(
        hook_point=labels.clean(item.hook_point),
        summary=summary + place,
        strip=_png(colours, len(colours)),
        images=images,
        elements=tuple(
            (labels.index(e.index), labels.exact(e.old), labels.exact(e.new))
            for e in item.elements
        ),
        statistics=tuple(
            (labels.clean(name, 40), labels.bound(old), labels.bound(new))
            for name, (old, new) in item.statistics.items()
        ),
    )


def _images(
    case: CaseComparison, item: TokenMap, colours: Sequence[int], worst: int
) -> tuple[tuple[ImageMap, ...], str]:
    """Maps of all images, and where the worst token is, in words."""
    patches = sum(t * h * w for t, h, w in case.grid_thw)
    known = sorted(item.places) == list(range(len(item.errors)))
    if not known or len(item.errors) not in (patches, patches // 4):
        return (), ""
    merge = 1 if len(item.errors) == patches else 2
    by_place = [0] * len(colours)
    for place, colour in zip(item.places, colours, strict=True):
        by_place[place] = colour
    found, start, where = [], 0, ""
    for number, (t, h, w) in enumerate(case.grid_thw):
        rows, columns = h // merge, w // merge
        size = t * rows * columns
        inside = item.places[worst] - start
        if 0 <= inside < size:
            frame, rest = divmod(inside, rows * columns)
            row, column = divmod(rest, columns)
            of_clip = f" frame {frame}," if t > 1 else ""
            where = f", image {number},{of_clip} row {row}, column {column}"
        frames = by_place[start : start + size]
        start += size
        mosaic = [
            frames[(frame * rows + row) * columns + column]
            for row in range(rows)
            for frame in range(t)
            for column in range(columns)
        ]
        unit = "patches" if merge == 1 else "merged patches"
        picture = case.pictures[number] if number < len(case.pictures) else ""
        title = f"image {number}, {rows}x{columns} {unit}" + (
            f", {t} frames side by side" if t > 1 else ""
        )
        found.append(ImageMap(_png(mosaic, t * columns), _safe(picture), title))
    return tuple(found), where


def _weight(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _colour(error: float, top: float) -> int:
    """Its place in the palette."""
    if error == 0:
        return 0
    if not math.isfinite(error) or top == 0:
        return RAMP
    share = 1 + math.log10(max(error / top, 1e-300)) / DECADES
    return 1 + round(min(1.0, max(0.0, share)) * (RAMP - 1))


def _png(colours: Sequence[int], width: int) -> str:
    from PIL import Image

    stream = io.BytesIO()
    image = Image.frombytes("P", (width, len(colours) // width), bytes(colours))
    image.putpalette([value for colour in PALETTE for value in colour])
    image.save(stream, "PNG", compress_level=0)  # the same bytes with every zlib
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _safe(picture: str) -> str:
    """A picture's URI, or nothing where a result names something else."""
    head, _, rest = picture.partition(",")
    fits = head == "data:image/jpeg;base64" and len(rest) <= 1 << 16
    return picture if fits else ""
