# SPDX-License-Identifier: Apache-2.0
"""From a failing row down to what makes it: block, sub-layer, operator.

Reads rows, never a tensor. A module whose parts all pass and which differs itself
is told apart from one with a failing part: there the code between the parts, in
its ``forward``, is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmparity.compare.tolerances import kind_of
from mmparity.types.row import LayerComparison
from mmparity.types.verdict import Verdict

SHOWN = 3


def is_control(layer: LayerComparison) -> bool:
    """Whether a row comes from the grid alone: no error of floats can reach it."""
    return kind_of(layer.hook_point, layer.old_dtype or layer.new_dtype) != "layer"


def first_failing(layers: Sequence[LayerComparison]) -> LayerComparison | None:
    """Integers and control tensors before floats, each in order of execution."""
    failing = [layer for layer in layers if layer.verdict != "pass"]
    failing.sort(key=lambda layer: (not is_control(layer), layer.order))
    return failing[0] if failing else None


def descent(hook_point: str, layers: Sequence[LayerComparison]) -> tuple[str, ...]:
    """From the outermost module to the row: how many rows of each fail."""
    steps = hook_point.split(".")
    start = 2 if len(steps) > 1 and steps[1].isdigit() else 1
    lines = []
    for end in range(start, len(steps)):
        module = ".".join(steps[:end])
        inside = [layer for layer in layers if _is_in(layer.hook_point, module)]
        wrong = sum(layer.verdict != "pass" for layer in inside)
        lines.append(f"{module}: {wrong} of {len(inside)} rows fail")
    return (*lines, hook_point)


def between(
    layer: LayerComparison,
    layers: Sequence[LayerComparison],
    verdicts: Mapping[str, Verdict] | None = None,
) -> str:
    """What lies between a failing row and those before it that pass, in words.

    With the ``verdicts`` of grafted rows: there no row is wrong because of another.
    """
    fed = verdicts is not None
    verdicts = verdicts or {item.hook_point: item.verdict for item in layers}
    name = layer.hook_point
    if is_control(layer):
        return "it comes from the grid alone, before any weight"
    parts = [x.hook_point for x in layers if x.hook_point.startswith(f"{name}.")]
    bad = [part for part in parts if verdicts.get(part) != "pass"]
    if parts and not bad:
        return (
            f"children match, parent differs: all {len(parts)} parts of {name} pass, "
            f"so the code between them, in its forward after {parts[-1]}, makes it"
        )
    if bad and fed:
        return f"the code in the forward of {name}, after {parts[-1]}, makes it"
    if bad:
        shown = ", ".join(bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        return f"{len(bad)} of {len(parts)} parts of {name} differ: {shown}"
    before = [x for x in layers if x.order < layer.order and not is_control(x)]
    if layer.new_path == name or not before:
        return f"{layer.new_path or layer.old_path} makes it"
    return (
        f"it is taken at {layer.new_path or layer.old_path}: made by that or by the "
        f"code since {before[-1].hook_point}"
    )


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
