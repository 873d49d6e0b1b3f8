# SPDX-License-Identifier: Apache-2.0
"""Error by order of execution on a log axis, as an SVG that needs no script.

New against old is a dot per hook point. Each side against the oracle is a line
through the largest error of each block: two lines through every hook point would
hide each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from mmparity.report import labels, rows
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import LayerComparison

WIDTH, HEIGHT = 720, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 10, 42
ZERO_LANE = 20
MAX_DECADES = 12
SERIES = (
    ("old-oracle", "old_oracle_error"),
    ("new-oracle", "new_oracle_error"),
    ("new-old", "normalized_l2_error"),
)


@dataclass(frozen=True)
class Axis:
    """The vertical scale: decades from `low` to `high`, and a lane below for zero."""

    low: int
    high: int

    @property
    def floor(self) -> float:
        """The line on which the lowest decade stands."""
        return HEIGHT - BOTTOM - ZERO_LANE

    def y(self, value: float) -> float:
        """Returns the height of an error; zero and not-finite have their own."""
        if not math.isfinite(value):
            return TOP
        if value <= 0:
            return self.floor + ZERO_LANE - 6
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.floor - max(0.0, min(1.0, share)) * (self.floor - TOP)


def error_chart(case: CaseComparison, anchor: str, name: str = "") -> Markup:
    """Returns the chart of the case at `anchor`; `name` makes its ids unique."""
    name = name or f"{anchor}-chart"
    layers = case.layers
    if not layers:
        return Markup("")
    series = {css: _drawn(layers, css, field) for css, field in SERIES}
    axis = _axis(layers, series.values())
    step = (WIDTH - LEFT - RIGHT) / max(1, len(layers) - 1)
    xs = [LEFT + step * i for i in range(len(layers))]
    body = [_grid(axis), _blocks(layers, xs), _tolerance(layers, xs, axis)]
    for css, _ in SERIES:
        values = zip(xs, series[css], strict=True)
        points = [(x, axis.y(value)) for x, value in values if value is not None]
        if points:
            draw = _dots if css == "new-old" else _line
            body.append(draw(points, css))
    body.append(_failures(layers, xs, axis))
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-t {name}-d" '
        f'data-case="{anchor}">'
        f'<title id="{name}-t">{escape(_title(case))}</title>'
        f'<desc id="{name}-d">{escape(message(case))}</desc>{"".join(body)}</svg>'
    )


def message(case: CaseComparison) -> str:
    """Returns what the chart shows, as sentences."""
    failed = [layer for layer in case.layers if layer.verdict != "pass"]
    metrics = [layer.metrics for layer in case.layers if layer.metrics]
    worst = rows.largest(metrics, lambda m: m.normalized_l2_error)
    parts = [
        f"{labels.count(len(case.layers), 'hook point')} in order of execution.",
        f"Largest normalized L2 error of new against old: {labels.scientific(worst)}.",
    ]
    for side, pick in (
        ("old", lambda m: m.old_oracle_error),
        ("new", lambda m: m.new_oracle_error),
    ):
        value = rows.largest(metrics, pick)
        if value is not None:
            shown = labels.scientific(value)
            parts.append(f"Largest of {side} against the oracle: {shown}.")
    if failed:
        first = labels.clean(failed[0].hook_point)
        parts.append(f"{len(failed):,} failed, the first at {first}.")
    else:
        parts.append("None failed.")
    return " ".join(parts)


def _title(case: CaseComparison) -> str:
    return f"Normalized L2 error by hook point, {labels.clean(case.id)}"


def _drawn(
    layers: Sequence[LayerComparison], css: str, name: str
) -> list[float | None]:
    """The values of one series that get a mark, at their rows' places."""
    values = [getattr(row.metrics, name) if row.metrics else None for row in layers]
    return values if css == "new-old" else _largest_of_block(layers, values)


def _axis(
    layers: Sequence[LayerComparison], series: Iterable[list[float | None]]
) -> Axis:
    found = [value for values in series for value in values]
    found += [row.tolerance.normalized_l2_error for row in layers if row.tolerance]
    positive = [v for v in found if v is not None and 0 < v < math.inf]
    if not positive:
        return Axis(-8, 0)
    high = math.ceil(math.log10(max(positive)))
    low = math.floor(math.log10(min(positive)))
    return Axis(max(low, high - MAX_DECADES), max(high, low + 1))


def _largest_of_block(
    layers: Sequence[LayerComparison], values: Sequence[float | None]
) -> list[float | None]:
    """Keeps one value per block, the largest, where it is; the others become None."""
    places: dict[str, int] = {}
    for i, (group, value) in enumerate(
        zip(rows.group_names(layers), values, strict=True)
    ):
        best = values[places[group]] if group in places else None
        # `not <=`: NaN is larger than everything.
        if value is not None and (best is None or not value <= best):
            places[group] = i
    kept = set(places.values())
    return [value if i in kept else None for i, value in enumerate(values)]


def _grid(axis: Axis) -> str:
    every = 1 if axis.high - axis.low <= 6 else 2
    lines, texts = [], []
    for decade in range(axis.low, axis.high + 1, every):
        y = axis.y(10.0**decade)
        lines.append(f"M{LEFT} {_n(y)}H{WIDTH - RIGHT}")
        texts.append(_text(LEFT - 6, y + 4, f"1e{decade}", "tick end"))
    texts.append(_text(LEFT - 6, axis.y(0) + 5, "0", "tick end"))
    return f'<path class="grid" d="{"".join(lines)}"/>{"".join(texts)}'


def _blocks(layers: Sequence[LayerComparison], xs: list[float]) -> str:
    """Block numbers under the axis, as many as have room."""
    starts: dict[int, float] = {}
    for x, layer in zip(xs, layers, strict=True):
        if layer.block is not None:
            starts.setdefault(layer.block, x)
    every = max(1, math.ceil(len(starts) / 16))
    ticks, texts = [], []
    for place, (block, x) in enumerate(starts.items()):
        if place % every:
            continue
        ticks.append(f"M{_n(x)} {HEIGHT - BOTTOM}v4")
        texts.append(_text(x, HEIGHT - BOTTOM + 17, str(block), "tick mid"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    caption = "block, in order of execution" if starts else "order of execution"
    texts.append(_text(middle, HEIGHT - 10, caption, "tick mid"))
    base = f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"
    return f'<path class="axis" d="{base}{"".join(ticks)}"/>{"".join(texts)}'


def _tolerance(layers: Sequence[LayerComparison], xs: list[float], axis: Axis) -> str:
    """What new is allowed against old, as steps; exact rows have no level."""
    levels = [
        (x, axis.y(layer.tolerance.normalized_l2_error))
        for x, layer in zip(xs, layers, strict=True)
        if layer.tolerance and 0 < layer.tolerance.normalized_l2_error < math.inf
    ]
    if not levels:
        return ""
    (x, y), *rest = levels
    parts = [f"M{_n(x)} {_n(y)}"]
    for x, level in rest:
        if _n(level) != _n(y):
            parts.append(f"H{_n(x)}V{_n(level)}")
        y = level
    return f'<path class="line allowed" d="{"".join(parts)}H{_n(x)}"/>'


def _line(points: list[tuple[float, float]], css: str) -> str:
    pairs = " ".join(f"{_n(x)} {_n(y)}" for x, y in points)
    return f'<path class="line {css}" d="M{pairs}"/>'


def _dots(points: list[tuple[float, float]], css: str) -> str:
    """Zero-length strokes with round caps, from one to the next: the shortest way."""
    steps, x, y = [], 0.0, 0.0
    for to_x, to_y in points:
        move = f"{_n(to_x - x)} {_n(to_y - y)}".replace(" -", "-")
        steps.append(f"m{move}h0")
        x, y = x + round(to_x - x, 1), y + round(to_y - y, 1)
    return f'<path class="dots {css}" d="{"".join(steps)}"/>'


def _failures(layers: Sequence[LayerComparison], xs: list[float], axis: Axis) -> str:
    """Failing rows get another shape, so that the colour is not all that tells."""
    marks = []
    for x, layer in zip(xs, layers, strict=True):
        if layer.verdict == "pass":
            continue
        by_oracle = "oracle" in (layer.exceeded or "")
        m = layer.metrics
        error = None
        if m is not None:
            error = m.new_oracle_error if by_oracle else m.normalized_l2_error
        y = axis.y(math.inf if error is None else error)
        marks.append(f"M{_n(x - 2.5)} {_n(y - 2.5)}l5 5m0-5l-5 5")
    return f'<path class="failed" d="{"".join(marks)}"/>' if marks else ""


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" class="{css}">{escape(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
