# SPDX-License-Identifier: Apache-2.0
"""A map of the encoder: its hook points as an outline, a cell for each block.

A line per hook point in order of execution, a column per block; a cell is coloured by
the error of new against old over its floor, the worst of all cases, and crossed where
a row failed. One map for each kind of encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from mmparity.report import labels
from mmparity.trace.hook_points import number_of, pattern_of
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import LayerComparison

LEVELS = (0.0, 0.3, 1.0, 3.0, 10.0, math.inf)
"""The upper bounds of a cell's colours, in floors; the first is for the same bits."""
NAMES = ("same bits", "to 0.3", "to 1", "to 3", "to 10", "over 10 floors")
LABEL, LINE, CELL, WIDTH = 150, 12, 26, 560
"""Room for names, the height of a line, the widest cell, the most for all columns."""


@dataclass(frozen=True)
class MapView:
    """The map of one kind of encoder.

    Attributes:
        title: the cases that it is of.
        svg: the drawing, the worst of all its cases.
        cases: the anchors of the cases.
        names: the hook points, in order of execution.
        cells: each one's left and top edge in the drawing.
        worst: for each the number of the case, in ``cases``, whose row is worst.
        width: of a cell.
    """

    title: str
    svg: Markup
    cases: tuple[str, ...]
    names: tuple[str, ...]
    cells: tuple[tuple[float, int], ...]
    worst: tuple[int, ...]
    width: float


def floor_of(layer: LayerComparison) -> float | None:
    """The error that is noise at a row; None where nothing says what that is.

    Measured by null pairs, or else old's own error against the oracle, or else what
    the row is allowed. Old may be exact by chance: no floor is below its dtype's
    rounding.
    """
    if layer.null_floor is not None:
        return layer.null_floor
    if layer.metrics is None:
        return None
    if layer.metrics.old_oracle_error is not None:
        rounding = layer.tolerance.oracle_floor if layer.tolerance else 0.0
        return max(layer.metrics.old_oracle_error, rounding)
    return layer.tolerance.normalized_l2_error if layer.tolerance else None


def floors(layer: LayerComparison) -> float:
    """The error of a row over its floor; infinite where there is no number for it."""
    if layer.metrics is None:
        return math.inf
    error, floor = layer.metrics.normalized_l2_error, floor_of(layer)
    if error == 0:
        return 0.0
    if math.isnan(error) or not floor:
        return math.inf
    return error / floor


def maps(cases: Sequence[CaseComparison]) -> tuple[MapView, ...]:
    """Returns one map for each set of hook points that cases have."""
    kinds: dict[tuple[str, ...], list[int]] = {}
    for i, case in enumerate(cases):
        if case.layers:
            of_tower = (row.hook_point for row in case.layers)
            pattern = tuple(dict.fromkeys(map(pattern_of, of_tower)))
            kinds.setdefault(pattern, []).append(i)
    return tuple(_map(cases, members, n) for n, members in enumerate(kinds.values(), 1))


def _map(cases: Sequence[CaseComparison], members: list[int], n: int) -> MapView:
    worst: dict[str, tuple[tuple[bool, float], int]] = {}
    for place, i in enumerate(members):
        for layer in cases[i].layers:
            rank = (layer.verdict != "pass", floors(layer))
            if layer.hook_point not in worst or rank > worst[layer.hook_point][0]:
                worst[layer.hook_point] = rank, place
    names = _in_order(list(worst))
    numbers = sorted({number_of(name) or 0 for name in names})
    columns = {number: place for place, number in enumerate(numbers)}
    width = round(min(CELL, WIDTH / len(columns)), 1)
    lines, heads, height = _lines(names)
    cells = [
        (
            round(LABEL + columns[number_of(name) or 0] * width, 1),
            lines[pattern_of(name)],
        )
        for name in names
    ]
    found = [worst[name][0] for name in names]
    drawn = _labels(lines, heads, width, numbers) + _cells(cells, found, width)
    title = f"Error over its floor by hook point and block, {_of(cases, members)}"
    size = f"{LABEL + len(columns) * width + 4:g}", f"{height + 4}"
    return MapView(
        title=title,
        svg=Markup(
            f'<svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
            f'height="{size[1]}" role="img" aria-labelledby="map-{n}-t map-{n}-d">'
            f'<title id="map-{n}-t">{escape(title)}</title>'
            f'<desc id="map-{n}-d">{escape(_said(names, found))}</desc>{drawn}</svg>'
        ),
        cases=tuple(f"case-{i + 1}" for i in members),
        names=tuple(names),
        cells=tuple(cells),
        worst=tuple(worst[name][1] for name in names),
        width=width,
    )


def _in_order(names: list[str]) -> list[str]:
    """By pattern as first seen, and within a pattern by number: lines of the map."""
    patterns = {p: i for i, p in enumerate(dict.fromkeys(map(pattern_of, names)))}
    return sorted(names, key=lambda name: (patterns[pattern_of(name)], number_of(name)))


def _of(cases: Sequence[CaseComparison], members: list[int]) -> str:
    if len(members) == 1:
        return labels.clean(cases[members[0]].id)
    models = {m.model for i in members if (m := cases[i].new_meta)}
    of = f" of {', '.join(sorted(models))}" if models else ""
    return labels.clean(f"the worst of {len(members)} cases{of}")


def _lines(
    names: Sequence[str],
) -> tuple[dict[str, int], dict[str, int], int]:
    """The top of each pattern's line and of each list's heading, and the height."""
    lines: dict[str, int] = {}
    heads: dict[str, int] = {}
    y = 2
    for pattern in dict.fromkeys(map(pattern_of, names)):
        head, numbered, rest = pattern.partition(".{i}")
        if numbered and rest and head not in heads:
            heads[head] = y
            y += LINE + 2
        lines[pattern] = y
        y += LINE
    return lines, heads, y


def _labels(
    lines: dict[str, int], heads: dict[str, int], width: float, numbers: list[int]
) -> str:
    texts = []
    every = max(1, math.ceil(24 / width))
    for head, y in heads.items():
        texts.append(_text(2, y + 10, head, "head"))
        texts += [
            _text(LABEL + i * width + width / 2, y + 10, str(number), "tick mid")
            for i, number in enumerate(numbers)
            if i % every == 0
        ]
    for pattern, y in lines.items():
        head, numbered, rest = pattern.partition(".{i}")
        inside = numbered and head in heads
        name = (rest.lstrip(".") or "output") if inside else head or pattern
        texts.append(_text(12 if inside else 2, y + 9, labels.clean(name, 24), "name"))
    return "".join(texts)


def _cells(
    cells: Sequence[tuple[float, int]],
    found: Sequence[tuple[bool, float]],
    width: float,
) -> str:
    """One path per colour, and one with the crosses of what failed."""
    paths: dict[int, list[str]] = {}
    crosses = []
    w, h = f"{width - 1:g}", LINE - 2
    for (x, y), (failed, value) in zip(cells, found, strict=True):
        paths.setdefault(level(value), []).append(f"M{x:g} {y}h{w}v{h}h-{w}z")
        if failed:
            middle = x + (width - 1) / 2
            crosses.append(f"M{middle - 3:g} {y + 2}l6 6m0-6l-6 6")
    drawn = [
        f'<path class="cell level-{n}" d="{"".join(paths.get(n, ()))}"/>'
        for n in range(len(LEVELS))
    ]
    return f'{"".join(drawn)}<path class="crossed" d="{"".join(crosses)}"/>'


def level(value: float) -> int:
    """The number of a cell's colour, from 0."""
    return next(n for n, bound in enumerate(LEVELS) if value <= bound)


def _said(names: Sequence[str], found: Sequence[tuple[bool, float]]) -> str:
    """What the map shows, as sentences."""
    failed = [name for name, (bad, _) in zip(names, found, strict=True) if bad]
    top = max(range(len(names)), key=lambda i: found[i][1])
    parts = [
        f"{labels.count(len(names), 'hook point')}; the worst, "
        f"{labels.clean(names[top])}, is {times(found[top][1])}."
    ]
    if failed:
        parts.append(
            f"{labels.count(len(failed), 'place')} failed, the first "
            f"{labels.clean(failed[0])}."
        )
    else:
        parts.append("None failed.")
    return " ".join(parts)


def times(value: float) -> str:
    """An error over its floor, in words."""
    if math.isinf(value):
        return "without a number"
    return "the same bits" if value == 0 else f"{value:.2g} floors"


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{css}">{escape(text)}</text>'
