# SPDX-License-Identifier: Apache-2.0
"""Cases in which an encoder raised an error: what was recorded until then."""

from __future__ import annotations

from mmparity.compare.align import Alignment
from mmparity.errors import MmparityError
from mmparity.trace.reader import TraceReader
from mmparity.types.row import LayerComparison
from mmparity.types.trace import Side, TraceMeta, Unmatched
from mmparity.types.verdict import Verdict


def check_oracle(oracle: TraceReader) -> None:
    """Refuses an oracle that did not come to an end: it judges nothing."""
    if oracle.meta.raised:
        raise MmparityError(f"the oracle's {oracle.meta.raised}")


def until_raised(alignment: Alignment, old: TraceMeta, new: TraceMeta) -> Alignment:
    """What both sides made until one raised an error.

    All that one side alone has is noted as one thing without a partner.
    """
    raised = _raised(old, new)
    if not raised:
        return alignment
    pairs = tuple(pair for pair in alignment.pairs if pair.old and pair.new)
    missing = len(alignment.pairs) - len(pairs)
    noted = tuple(
        Unmatched(text, side, f"so {missing} hook points have no partner", False)
        for side, text in raised.items()
    )
    return Alignment(pairs, alignment.unmatched + noted)


def with_raised(
    verdict: Verdict,
    reason: str,
    layers: tuple[LayerComparison, ...],
    old: TraceMeta | None,
    new: TraceMeta | None,
) -> tuple[Verdict, str]:
    """The verdict where an encoder raised: fail if a row did before, else error."""
    raised = _raised(old, new)
    if not raised:
        return verdict, reason
    said = "; ".join(f"{side}: {text}" for side, text in raised.items())
    if any(layer.verdict == "fail" for layer in layers):
        return "fail", f"{reason}; {said}"
    passed = sum(layer.verdict == "pass" for layer in layers)
    return "error", f"{said}; {passed} hook points until then passed"


def _raised(old: TraceMeta | None, new: TraceMeta | None) -> dict[Side, str]:
    """Side -> what its encoder raised."""
    sides: tuple[tuple[Side, TraceMeta | None], ...] = (("old", old), ("new", new))
    return {side: meta.raised for side, meta in sides if meta and meta.raised}
