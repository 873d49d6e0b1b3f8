# SPDX-License-Identifier: Apache-2.0
"""Traces -> the comparison of one case. Glue; one hook point in memory at a time.

A row passes only if both tensors were there, usable, finite and within bounds;
everything else is a failed row with its reason, never a skipped one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module

import torch

from mmparity.compare.align import align, check_comparable
from mmparity.compare.descent import first_failing
from mmparity.compare.evidence.code import code_at
from mmparity.compare.evidence.coverage import coverage
from mmparity.compare.evidence.structure import differences, without_structure
from mmparity.compare.metrics.metrics import measure
from mmparity.compare.raised import check_oracle, until_raised, with_raised
from mmparity.compare.rows import BOUNDS, LOST, Readers, Standard, compare_pairs
from mmparity.compare.token_maps import token_maps
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import (
    CaseComparison,
    Coverage,
    StructuralDifference,
)
from mmparity.types.row import LayerComparison
from mmparity.types.trace import ASSUMED, UNKNOWN, TraceMeta, Unmatched
from mmparity.types.verdict import Verdict


def load(dtypes: Iterable[str]) -> None:
    """Loads what comparing in these dtypes needs, which takes a second."""
    import_module("deepdiff")
    exact = torch.ones(1, 2, dtype=torch.float64)
    for name in dtypes:
        tensor = exact.to(getattr(torch, name))
        measure(tensor, tensor + 1, exact)


def compare_traces(
    old: TraceReader,
    new: TraceReader,
    oracle: TraceReader | None,
    *,
    description: str = "",
    repeat: str = "",
    standard: Standard = BOUNDS,
) -> CaseComparison:
    """Compares two traces of one case; MmparityError where that cannot be done."""
    _check(old, new, oracle)
    alignment = until_raised(align(old, new, oracle), old.meta, new.meta)
    layers = compare_pairs(alignment.pairs, Readers(old, new, oracle), standard)
    covered = coverage(old, new, alignment)
    structure = differences(old.meta, new.meta)
    verdict, reason = case_verdict(layers, alignment.unmatched, covered, structure)
    verdict, reason = with_raised(verdict, reason, layers, old.meta, new.meta)
    return CaseComparison(
        id=case_id(old.meta, new.meta.implementation),
        name=old.meta.case,
        dtype=old.meta.dtype,
        old=old.meta.implementation,
        new=new.meta.implementation,
        oracle=oracle.meta.implementation if oracle else None,
        verdict=verdict,
        reason=reason,
        description=description,
        grid_thw=old.meta.grid_thw,
        layers=layers,
        unmatched=alignment.unmatched,
        structure=structure,
        old_meta=without_structure(old.meta),
        new_meta=without_structure(new.meta),
        repeat=repeat,
        coverage=covered,
        token_maps=token_maps(layers, old, new),
        expected=standard.expected,
        code=code_at(layers, old.meta, new.meta),
    )


def _check(old: TraceReader, new: TraceReader, oracle: TraceReader | None) -> None:
    """Refuses traces of different things, and an oracle that judges nothing."""
    check_comparable(old.meta, new.meta)
    if oracle is not None:
        check_comparable(old.meta, oracle.meta, what="oracle")
        check_oracle(oracle)


def case_id(old: TraceMeta, new: str) -> str:
    """``<name>/<dtype>/<old>:<new>``."""
    return f"{old.case}/{old.dtype}/{old.implementation}:{new}"


def case_verdict(
    layers: tuple[LayerComparison, ...],
    unmatched: tuple[Unmatched, ...],
    covered: Coverage | None,
    structure: tuple[StructuralDifference, ...] = (),
) -> tuple[Verdict, str]:
    """Verdict of a case and why it is not a pass."""
    failed = [layer for layer in layers if layer.verdict == "fail"]
    errors = [layer for layer in layers if layer.verdict == "error"]
    unexplained = [item for item in unmatched if not item.explained]
    if failed:
        text = f"{len(failed)} of {len(layers)} hook points outside tolerance"
        lost = sum(layer.reason.startswith(LOST) for layer in failed)
        if lost:
            text = f"{len(failed)} of {len(layers)} hook points not bit-equal"
            text += (
                f", as expected of this pair; {len(failed) - lost} outside tolerance"
            )
        first = first_failing(failed)
        assert first is not None
        return "fail", f"{text}, first {first.hook_point}"
    if errors:
        text = f"{len(errors)} of {len(layers)} hook points could not be judged"
        return "error", f"{text}, first {errors[0].hook_point}"
    if unexplained:
        text = f"{len(unexplained)} modules have no partner and no declared reason"
        return "fail", f"{text}, first {unexplained[0].path}"
    if not layers:
        return "error", "the traces have no hook point in common: nothing was compared"
    if covered and covered.uncovered:
        text = f"{covered.uncovered} executed paths are uncovered"
        return "fail", f"{text}, first {covered.uncovered_paths[0]}"
    undeclared = [item for item in structure if item.verdict == "undeclared"]
    if undeclared:
        text = f"structural differences that no patch intends: {len(undeclared)}"
        return "fail", f"{text}, first {undeclared[0].part}: {undeclared[0].path}"
    return "pass", ""


def qualified(case: CaseComparison) -> CaseComparison:
    """The case, with what of it was not shown; it passes only if that was assumed."""
    if case.old_meta is None or case.new_meta is None:
        return case
    unknown = _in_doubt(case.old_meta, case.new_meta, UNKNOWN)
    assumed = _in_doubt(case.old_meta, case.new_meta, ASSUMED)
    texts = [case.reason] if case.reason else []
    if unknown:
        texts.append(
            f"that both sides had the same {' and '.join(unknown)} could not be shown: "
            "give --checkpoint and --inputs, or --assume-same"
        )
    if assumed:
        texts.append(f"assumed, not shown: the same {' and '.join(assumed)}")
    verdict = "error" if unknown and case.verdict == "pass" else case.verdict
    description = case.description
    if assumed and "assumed" not in description:
        description = "; ".join(filter(None, (description, texts[-1])))
    return replace(
        case, verdict=verdict, reason="; ".join(texts), description=description
    )


def _in_doubt(old: TraceMeta, new: TraceMeta, mark: str) -> list[str]:
    known = {"weights": "weights_digest", "pixels": "pixels_digest"}
    return [
        name
        for name, field in known.items()
        if mark in (getattr(old, field), getattr(new, field))
    ]
