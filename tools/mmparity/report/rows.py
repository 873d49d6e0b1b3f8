# SPDX-License-Identifier: Apache-2.0
"""One case's rows as a reader sees them: by block, the failing ones, the margin."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mmparity.report import labels
from mmparity.types.row import NOISE_SHARE, LayerComparison, Metrics, Tolerance
from mmparity.types.verdict import Verdict, worst

Pick = Callable[[Metrics], "float | None"]


@dataclass(frozen=True)
class Column:
    """A metric that has a column in every format; larger is worse in all of them."""

    title: str
    field: str
    pick: Pick


def distance(metrics: Metrics, cosine: float) -> float:
    """Returns 1 - cosine, without the rounding that leaves 2e-16 of equal tensors."""
    return 0.0 if metrics.bit_equal else max(0.0, 1 - cosine)


COLUMNS = (
    Column("normalized L2", "normalized_l2_error", lambda m: m.normalized_l2_error),
    Column("worst token", "max_token_error", lambda m: m.max_token_error),
    Column("1 - cosine", "min_token_cosine", lambda m: distance(m, m.min_token_cosine)),
    Column("max abs", "max_abs_diff", lambda m: m.max_abs_diff),
    Column("old vs oracle", "old_oracle_error", lambda m: m.old_oracle_error),
    Column("new vs oracle", "new_oracle_error", lambda m: m.new_oracle_error),
)


@dataclass(frozen=True)
class RowView:
    """A row that is not a pass, with everything that judges it."""

    anchor: str
    verdict: Verdict
    hook_point: str
    reason: str
    exceeded: str
    value: str
    allowed: str
    worst_index: str
    old_at_worst: str
    new_at_worst: str
    cells: tuple[str, ...]
    details: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class GroupView:
    """One block, or what runs before or after the blocks."""

    name: str
    verdict: Verdict
    rows: int
    failed: int
    bit_equal: int
    worst_hook_point: str
    worst_anchor: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Margin:
    """The row that uses most of what it is allowed, of those that pass."""

    position: int
    hook_point: str
    metric: str
    value: str
    allowed: str
    used: float
    used_text: str


def slugs(layers: Sequence[LayerComparison]) -> tuple[str, ...]:
    """Returns one name per row for a link, readable where the hook point allows it."""
    seen: dict[str, int] = {}
    made = []
    for layer in layers:
        slug = re.sub(r"[^A-Za-z0-9._-]", "_", layer.hook_point)[:80]
        seen[slug] = seen.get(slug, 0) + 1
        made.append(f"{slug}~{seen[slug]}" if seen[slug] > 1 else slug)
    return tuple(made)


def anchors(case_anchor: str, layers: Sequence[LayerComparison]) -> tuple[str, ...]:
    """Returns one id per row, unique in the page."""
    return tuple(f"{case_anchor}.{slug}" for slug in slugs(layers))


def group_names(layers: Sequence[LayerComparison]) -> tuple[str, ...]:
    """Returns the group of each row: its block, or its place around the blocks."""
    started = False
    names = []
    for layer in layers:
        started = started or layer.block is not None
        outside = "after the blocks" if started else "before the blocks"
        names.append(outside if layer.block is None else f"block {layer.block}")
    return tuple(names)


def groups(
    layers: Sequence[LayerComparison], row_anchors: Sequence[str]
) -> tuple[GroupView, ...]:
    """Returns one line per block, in order of execution."""
    members: dict[str, list[int]] = {}
    for position, name in enumerate(group_names(layers)):
        members.setdefault(name, []).append(position)
    return tuple(
        _group(name, [layers[i] for i in places], [row_anchors[i] for i in places])
        for name, places in members.items()
    )


def _group(
    name: str, layers: list[LayerComparison], row_anchors: list[str]
) -> GroupView:
    first = max(range(len(layers)), key=lambda i: _rank(layers[i]))
    metrics = [layer.metrics for layer in layers if layer.metrics]
    return GroupView(
        name=name,
        verdict=worst(layer.verdict for layer in layers),
        rows=len(layers),
        failed=sum(layer.verdict != "pass" for layer in layers),
        bit_equal=sum(m.bit_equal for m in metrics),
        worst_hook_point=labels.clean(layers[first].hook_point),
        worst_anchor=row_anchors[first],
        cells=tuple(labels.scientific(largest(metrics, c.pick)) for c in COLUMNS),
    )


def _rank(layer: LayerComparison) -> tuple[bool, float]:
    """A failing row before a passing one, then the larger error."""
    error = layer.metrics.normalized_l2_error if layer.metrics else math.inf
    return layer.verdict != "pass", math.inf if math.isnan(error) else error


def largest(metrics: Iterable[Metrics], pick: Pick) -> float | None:
    """Returns the worst value of one column; NaN is worse than any number."""
    values = [value for m in metrics if (value := pick(m)) is not None]
    if any(math.isnan(value) for value in values):
        return math.nan
    return max(values, default=None)


def failing(
    layers: Sequence[LayerComparison], row_anchors: Sequence[str], limit: int
) -> tuple[RowView, ...]:
    """Returns the first `limit` rows that are not a pass."""
    found = [i for i, layer in enumerate(layers) if layer.verdict != "pass"]
    return tuple(row_view(layers[i], row_anchors[i]) for i in found[:limit])


def row_view(layer: LayerComparison, anchor: str) -> RowView:
    """Returns one row with its numbers as text."""
    m = layer.metrics
    return RowView(
        anchor=anchor,
        verdict=layer.verdict,
        hook_point=labels.clean(layer.hook_point),
        reason=reason(layer),
        exceeded=labels.metric(layer.exceeded),
        value=labels.scientific(layer.value),
        allowed=labels.bound(layer.allowed),
        worst_index=labels.index(m.worst_index) if m else "",
        old_at_worst=labels.exact(m.old_at_worst if m else None),
        new_at_worst=labels.exact(m.new_at_worst if m else None),
        cells=tuple(labels.scientific(c.pick(m) if m else None) for c in COLUMNS),
        details=_details(layer),
    )


def reason(layer: LayerComparison) -> str:
    """Returns why a row is no pass, and what the grafted one beside it says."""
    text = labels.clean(layer.reason, 400)
    row = layer.grafted
    if row is None or row.verdict == layer.verdict == "pass":
        return text
    if row.verdict == "pass":
        said = "passes, so the error comes from before"
    elif row.follows:
        said = f"fails too, but follows from {labels.clean(', '.join(row.follows))}"
    else:
        error = row.metrics.normalized_l2_error if row.metrics else None
        said = f"fails by itself, normalized L2 {labels.scientific(error)}"
    return "; ".join(filter(None, (text, f"fed old's tensors it {said}")))


def elements(row: RowView) -> str:
    """Returns the element that differs most; empty where nothing was measured."""
    if not row.worst_index:
        return ""
    return f"worst at {row.worst_index}: old {row.old_at_worst}, new {row.new_at_worst}"


def numbers(row: RowView) -> str:
    """Returns the columns of a row on one line."""
    pairs = zip(COLUMNS, row.cells, strict=True)
    return "; ".join(f"{column.title} {cell}" for column, cell in pairs)


def _details(layer: LayerComparison) -> tuple[tuple[str, str], ...]:
    dtypes = " → ".join(dict.fromkeys((layer.old_dtype, layer.new_dtype)))
    pairs = [
        ("old path", labels.clean(layer.old_path)),
        ("new path", labels.clean(layer.new_path)),
        ("old layout", transforms(layer.old_transforms)),
        ("new layout", transforms(layer.new_transforms)),
        ("shape", f"{labels.shape(layer.shape)} {labels.clean(dtypes)}"),
    ]
    if layer.tolerance:
        pairs.append(("allowed", labels.clean(tolerance(layer.tolerance), 400)))
    if layer.margin is not None:
        pairs.append(("margin", f"{labels.scientific(layer.margin)} null floors"))
    if layer.metrics and layer.metrics.torch_close is not None:
        said = "passes" if layer.metrics.torch_close else "fails"
        pairs.append(("torch.testing", f"{said} by its defaults; never the verdict"))
    return tuple(pairs)


def tolerance(allowed: Tolerance | None) -> str:
    """Returns what a row is allowed and why, in one sentence."""
    if allowed is None:
        return ""
    if allowed.exact:
        return f"bit-equality only. {allowed.reason}".strip()
    parts = [
        f"{name} {labels.bound(limit)}"
        for name, limit in (
            ("normalized L2", allowed.normalized_l2_error),
            ("worst token", allowed.max_token_error),
            ("worst element", allowed.max_element_error),
            ("new vs oracle", allowed.oracle_error),
        )
        if limit < math.inf
    ]
    factor = f"and {labels.bound(allowed.oracle_factor)} times old vs oracle"
    if allowed.oracle_slack is not None:
        noise = labels.scientific(allowed.oracle_slack)
        factor = f"and {NOISE_SHARE:g} times old vs oracle plus {noise}"
    return f"{', '.join(parts)} {factor}. {allowed.reason}".strip()


def transforms(names: Sequence[str]) -> str:
    """Returns the layout transforms of one side in the order they were applied."""
    return ", ".join(labels.clean(name) for name in names) or "as captured"


def limits(layer: LayerComparison) -> tuple[tuple[str, float, float], ...]:
    """Returns (metric, value, allowed) of each bound that is a number of its own."""
    m, allowed = layer.metrics, layer.tolerance
    if m is None or allowed is None or allowed.exact or m.bit_equal:
        return ()
    names = ("normalized_l2_error", "max_token_error", "max_element_error")
    found = [(name, getattr(m, name), getattr(allowed, name)) for name in names]
    if m.old_oracle_error is not None and m.new_oracle_error is not None:
        bound = min(allowed.oracle_error, allowed.oracle_bound(m.old_oracle_error))
        found.append(("new_oracle_error", m.new_oracle_error, bound))
    return tuple(found)


def margin(layers: Iterable[LayerComparison]) -> Margin | None:
    """Returns the passing row that is nearest to a limit; None if all are exact."""
    best: Margin | None = None
    for position, layer in enumerate(layers):
        if layer.verdict != "pass":
            continue
        for name, value, allowed in limits(layer):
            used = value / allowed if 0 < allowed < math.inf else 0.0
            if used > (best.used if best else 0):
                best = Margin(
                    position=position,
                    hook_point=labels.clean(layer.hook_point),
                    metric=labels.metric(name),
                    value=labels.scientific(value),
                    allowed=labels.bound(allowed),
                    used=used,
                    used_text=labels.share(used),
                )
    return best
