# SPDX-License-Identifier: Apache-2.0
"""Two torch modules on the same inputs, module by module: no vLLM, no trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mmparity.compare.metrics.metrics import bit_equal
from mmparity.compare.rows import METRIC_NAMES, Judgement, judge_tensors
from mmparity.compare.tolerances import EPSILON, tolerance_for
from mmparity.library.names import paired
from mmparity.library.recorded import Call, record
from mmparity.types.row import Tolerance

COMPLEX = "complex tensors are not compared: give their real view"


@dataclass(frozen=True)
class ModuleRow:
    """One tensor that a module gives, on both sides.

    Attributes:
        old: path of the module in old; ``#2`` marks its second call.
        new: path of its partner in new.
        output: which of the tensors that it gives.
        judgement: verdict, reason and metrics.
        same_inputs: whether both took tensors of the same bits.
        source: class, file and line of both modules' ``forward``.
    """

    old: str
    new: str
    output: int
    judgement: Judgement
    same_inputs: bool
    source: tuple[str, str]
    parameters: str = ""
    """What of both modules' own parameters differs."""


def compare_modules(
    old: torch.nn.Module,
    new: torch.nn.Module,
    inputs: Any,
    *,
    names: Mapping[str, str] | None = None,
    absent: Sequence[str] = (),
    oracle: torch.nn.Module | None = None,
) -> list[ModuleRow]:
    """Runs both once and judges what each module gives, in order of completion.

    Args:
        old: what is replaced.
        new: what replaces it.
        inputs: one tensor, a tuple of positional or a dict of keyword arguments.
        names: old's module path -> new's, where they differ; ``{i}`` is a number.
        absent: paths that one side alone has; ``{i}`` and ``*`` allowed.
        oracle: old with the same weights in float64, as ``copy.deepcopy(old).double()``
            makes it: new may then be no further from it than old, by a stated factor
            (docs/judging.md). Floating inputs are given to it in float64.

    Raises:
        MmparityError: a model raised, or a module has no partner.
    """
    calls_old, calls_new = record(old, inputs, "old"), record(new, inputs, "new")
    exact = record(oracle, _as_float64(inputs), "oracle") if oracle else {}
    pairs = paired(calls_old, calls_new, names or {}, absent)
    return [
        row
        for path, other in pairs.items()
        for row in _rows(path, other, (calls_old[path], calls_new[other]), exact)
    ]


def assert_same(
    old: torch.nn.Module,
    new: torch.nn.Module,
    inputs: Any,
    *,
    names: Mapping[str, str] | None = None,
    absent: Sequence[str] = (),
    oracle: torch.nn.Module | None = None,
) -> None:
    """Asserts that two modules compute the same on the same inputs, module by module.

    Takes what `compare_modules` takes.

    Raises:
        AssertionError: they do not; the message names the first module that differs.
        MmparityError: a model raised, or a module has no partner.
    """
    __tracebackhide__ = True
    rows = compare_modules(old, new, inputs, names=names, absent=absent, oracle=oracle)
    if not rows:
        raise AssertionError("no module gave a tensor: nothing was compared")
    failing = [row for row in rows if row.judgement.verdict != "pass"]
    if failing:
        raise AssertionError(_message(failing[0], rows))


def _rows(
    path: str, other: str, calls: tuple[Call, Call], exact: Mapping[str, Call]
) -> Iterator[ModuleRow]:
    old, new = calls
    same = len(old.taken) == len(new.taken) and all(
        map(bit_equal, old.taken, new.taken)
    )
    shared = (same, (old.source, new.source), _parameters(old.module, new.module))
    if len(old.given) != len(new.given):
        text = f"old gives {len(old.given)} tensors, new {len(new.given)}"
        yield ModuleRow(path, other, 0, Judgement("fail", text), *shared)
        return
    for index, (left, right) in enumerate(zip(old.given, new.given, strict=True)):
        against = exact[path].given[index : index + 1] if path in exact else ()
        if exact and not against:
            judgement = Judgement("error", "the oracle gives no such tensor")
        else:
            judgement = _judge(left, right, *against)
        yield ModuleRow(path, other, index, judgement, *shared)


def _judge(
    old: torch.Tensor, new: torch.Tensor, oracle: torch.Tensor | None = None
) -> Judgement:
    if old.shape != new.shape:
        shapes = f"old {tuple(old.shape)}, new {tuple(new.shape)}"
        return Judgement("fail", f"shape differs: {shapes}")
    if old.is_floating_point() != new.is_floating_point():
        return Judgement("fail", f"dtype differs: old {old.dtype}, new {new.dtype}")
    if old.is_complex():
        return Judgement("error", COMPLEX)
    if not old.numel():
        return Judgement("fail", f"both are empty: shape {tuple(old.shape)}")
    old, new = old.cpu(), new.cpu()
    tolerance = _tolerance(old, new)
    wanted = None if tolerance.exact or oracle is None else oracle.cpu()
    return judge_tensors(old, new, wanted, tolerance)


def _tolerance(old: torch.Tensor, new: torch.Tensor) -> Tolerance:
    """Of the coarser of both dtypes."""
    names = [str(tensor.dtype).removeprefix("torch.") for tensor in (old, new)]
    coarser = max(names, key=lambda name: EPSILON.get(name, 0.0))
    return tolerance_for("module", coarser, coarser)


def _parameters(old: torch.nn.Module, new: torch.nn.Module) -> str:
    """What of two modules' own parameters and buffers differs, in words."""
    found = []
    sides = [
        {
            **dict(m.named_parameters(recurse=False)),
            **dict(m.named_buffers(recurse=False)),
        }
        for m in (old, new)
    ]
    for name in sides[0].keys() & sides[1].keys():
        left, right = (side[name].detach().cpu() for side in sides)
        if left.shape != right.shape:
            found.append(f"{name}: shape {tuple(left.shape)} and {tuple(right.shape)}")
        elif not torch.equal(left.to(right.dtype), right):
            found.append(f"{name}: other values")
    found += [f"{name}: in one alone" for name in sides[0].keys() ^ sides[1].keys()]
    return ", ".join(sorted(found))


def _as_float64(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _as_float64(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_float64(item) for item in value)
    return value


def _message(first: ModuleRow, rows: Sequence[ModuleRow]) -> str:
    """In the form of torch.testing's."""
    where = first.old if first.old == first.new else f"{first.old} (new: {first.new})"
    lines = [f"{where} is not close to old.", "", *_numbers(first.judgement)]
    lines += [f"old: {first.source[0]}", f"new: {first.source[1]}", _cause(first)]
    index = rows.index(first)
    later = rows[index + 1 :]
    bad = sum(row.judgement.verdict != "pass" for row in later)
    lines.append(f"First divergence; {bad} of the {len(later)} later rows also fail.")
    if index:
        lines.append(f"The last row before it, which passes: {rows[index - 1].old}.")
    return "\n".join(lines)


def _numbers(judgement: Judgement) -> list[str]:
    metrics, exceeded = judgement.metrics, judgement.exceeded
    if metrics is None or exceeded is None:
        return [judgement.reason]
    name = METRIC_NAMES[exceeded.metric]
    return [
        f"Greatest absolute difference: {metrics.max_abs_diff:.6g} at index "
        f"{metrics.worst_index}; old {metrics.old_at_worst:.6g}, "
        f"new {metrics.new_at_worst:.6g}",
        f"{name[0].upper()}{name[1:]}: {exceeded.value:.3g} "
        f"(up to {exceeded.allowed:.3g} allowed)",
    ]


def _cause(row: ModuleRow) -> str:
    if row.parameters:
        return f"Its own parameters differ: {row.parameters}."
    if row.same_inputs:
        return "Its inputs have the same bits and its parameters too: its code differs."
    return "Its inputs differ already, within what is allowed before it."
