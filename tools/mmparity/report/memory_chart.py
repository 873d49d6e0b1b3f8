# SPDX-License-Identifier: Apache-2.0
"""Resident memory over requests, a line for each side, as an SVG without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from mmparity.report import labels
from mmparity.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from mmparity.types.engine import EngineFigures

COLORS = ("old-oracle", "new-oracle", "new-old", "allowed")
MOST_POINTS = 240
"""Of one line: the page is as wide as three times that."""
MIB = 1 << 20


def memory_chart(sides: Sequence[EngineFigures], title: str, name: str) -> Markup:
    """Returns the chart, empty where no side served requests; `name` as for others."""
    drawn = [side for side in sides if len(side.points) > 1]
    if not drawn:
        return Markup("")
    values = [p.resident_bytes / MIB for side in drawn for p in side.points]
    last = max(1, *(p.requests for side in drawn for p in side.points))
    low, high, step = _ticks(min(values), max(values))

    def x(requests: int) -> float:
        return LEFT + 20 + (WIDTH - LEFT - 20 - RIGHT) * requests / last

    def y(mib: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (mib - low) / (high - low)

    lines = []
    for color, side in zip(COLORS * len(sides), sides, strict=False):
        if side not in drawn:
            continue
        every = math.ceil(len(side.points) / MOST_POINTS)
        kept = [*side.points[::every], side.points[-1]]
        places = [(x(p.requests), y(p.resident_bytes / MIB)) for p in kept]
        path = " ".join(f"{a:.1f} {b:.1f}" for a, b in places)
        lines.append(f'<path class="line {color}" d="M{path}"/>')
    ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
    grid = "".join(f"M{LEFT + 20} {y(t):.1f}H{WIDTH - RIGHT}" for t in ticks)
    texts = [_text(LEFT + 14, y(t) + 4, f"{t:,.0f} MiB", "end") for t in ticks]
    texts += [
        _text(x(round(last * part)), HEIGHT - BOTTOM + 17, f"{last * part:,.0f}", "mid")
        for part in (0, 0.25, 0.5, 0.75, 1)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    texts.append(_text(middle, HEIGHT - 10, "requests served", "mid"))
    said = escape(f"Resident memory over requests, {title}")
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{said}</title>'
        f'<desc id="{name}-d">{escape(_message(drawn))}</desc>'
        f'<path class="grid" d="{grid}"/>{"".join(texts)}{"".join(lines)}</svg>'
    )


def _message(sides: Sequence[EngineFigures]) -> str:
    """What the chart shows, as sentences."""
    parts = []
    for side in sides:
        first, last = side.points[0], side.points[-1]
        ends = [labels.bytes_(p.resident_bytes) for p in (first, last)]
        parts.append(
            f"{labels.clean(side.side, 80)}: {ends[0]} after {first.requests:,} "
            f"requests, {ends[1]} after {last.requests:,}."
        )
    return " ".join(parts)


def _ticks(low: float, high: float) -> tuple[float, float, float]:
    """Round numbers below and above; the axis need not start at zero."""
    rough = max(high - low, high * 0.02, 1.0) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    bottom = math.floor(low / step) * step
    top = math.ceil(high / step) * step
    return bottom, max(top, bottom + step), step


def _text(x: float, y: float, text: str, side: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="tick {side}">{escape(text)}</text>'
