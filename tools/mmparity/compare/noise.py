# SPDX-License-Identifier: Apache-2.0
"""What noise is worth at each row: two captures of one side by two kernels.

Attention and products by other kernels change roundings and nothing else, and the
blocks behind it make of that what they make of any rounding on these weights.
"""

from __future__ import annotations

from mmparity.errors import MmparityError
from mmparity.trace.hook_points import pattern_of
from mmparity.types.comparison import CaseComparison
from mmparity.types.row import Metrics, Noise

BLOCK = "blocks.{i}"
"""Where a block ends."""


def noise_of(case: CaseComparison) -> dict[str, Noise]:
    """Hook point -> the most that it, or its like in an earlier block, differs by.

    ``case`` compares a side with itself. Noise only grows with the blocks; where it
    happens to be small in one of them, that says nothing of the next input. What comes
    behind the blocks has no like: how much its error against the oracle changes counts
    as at least what it does where a block ends, for it may not change by chance. Empty
    where every bit is the same: the side's attention is a kernel of its own, and what
    its noise is was not measured.
    """
    found: dict[str, Noise] = {}
    so_far: dict[str, Noise] = {}
    for layer in case.layers:
        if layer.metrics is None:
            raise MmparityError(f"{case.id}: noise of {layer.hook_point} has no number")
        if layer.tolerance is not None and layer.tolerance.exact:
            continue
        pattern, here = pattern_of(layer.hook_point), _noise(layer.metrics)
        if layer.block is None and BLOCK in so_far:
            here = here.or_more(Noise(0.0, 0.0, 0.0, so_far[BLOCK].oracle_change))
        so_far[pattern] = (
            here if pattern not in so_far else so_far[pattern].or_more(here)
        )
        found[layer.hook_point] = so_far[pattern]
    return found if any(noise.normalized_l2_error for noise in found.values()) else {}


def _noise(metrics: Metrics) -> Noise:
    old, new = metrics.old_oracle_error, metrics.new_oracle_error
    return Noise(
        metrics.normalized_l2_error,
        metrics.max_token_error,
        metrics.max_element_error,
        abs(new - old) if old is not None and new is not None else 0.0,
    )
