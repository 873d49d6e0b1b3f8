# SPDX-License-Identifier: Apache-2.0
"""All implementations in one plan: each against the first one and that before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmparity.errors import MmparityError
from mmparity.project import environment_python, known
from mmparity.run.plan import ORACLE, Options, Plan
from mmparity.run.planning import choose_models, plan_of
from mmparity.workload.implementation import BASE, Implementation
from mmparity.workload.pairs import STANDS_IN_FOR, has_encoder
from mmparity.workload.trees import command_for, look_for_trees

FIRST = "ascend-0.11.0"
COSTS_DTYPE = "bfloat16"


@dataclass(frozen=True)
class Year:
    """A plan of everything that can run here.

    Attributes:
        plan: its pairs have the first implementation, or that before it, as old.
        first: the implementation that all others are compared with.
        left_out: implementation -> why it is not in the plan.
    """

    plan: Plan
    first: str
    left_out: dict[str, str]


def make_year(
    options: Options,
    implementations: dict[str, Implementation],
    only: Iterable[str] = (),
) -> Year:
    """The plan of all implementations that are there, or of those named.

    Nothing is fetched or made for it. Raises MmparityError where the first one, or
    every other, is not there.
    """
    models = choose_models(options.models)
    if len(models) > 1:
        raise MmparityError("year takes one --model at a time.")
    model = models[0]
    candidates = (FIRST, *STANDS_IN_FOR)
    firsts = [n for n in candidates if has_encoder(implementations[n], model)]
    if not firsts:
        raise MmparityError(f"year: {FIRST} has no encoder for {model}.")
    first = firsts[0]
    named = {known("implementation", name, implementations).name for name in only}
    asked = [
        name
        for name, item in implementations.items()
        if not item.oracle and (not named or name in {*named, first})
    ]
    reasons = {name: _why_not(implementations[name], options, model) for name in asked}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if first in left_out:
        raise MmparityError(f"all are compared with {first}: {left_out[first]}")
    names = [name for name in asked if name not in (*left_out, first)]
    if not names:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise MmparityError(f"nothing to compare with {first}. {said}")
    pairs = _pairs(names, first, implementations)
    sides = {side for pair in pairs for side in pair}
    plan = plan_of(options, pairs, sides | {ORACLE}, sides, implementations, model)
    return Year(plan, first, left_out)


def _pairs(
    names: list[str], first: str, implementations: dict[str, Implementation]
) -> tuple[tuple[str, str], ...]:
    """Each with the first one, and with that before it where it takes part."""
    return tuple(
        pair
        for name in names
        for pair in dict.fromkeys([(first, name), (implementations[name].after, name)])
        if pair[0] in (first, *names)
    )


def _why_not(item: Implementation, options: Options, model: str | None) -> str:
    """Why an implementation cannot run here; empty where it can."""
    if not has_encoder(item, model):
        return "it has no encoder of this model."
    given = [text.partition("=")[0] for text in options.pythons]
    if item.installed and item.name not in given:
        return f"`--python {item.name}=PYTHON` says which vLLM that is."
    if item.environment != BASE and item.name not in given:
        made = environment_python(item.environment).parents[1] / "setup.json"
        if not made.is_file():
            return f"`make setup ENV={item.environment}` makes its environment."
    mine = [text for text in options.trees if text.startswith(f"{item.name}:")]
    _, missing = look_for_trees([item.name], mine, {item.name: item})
    if missing:
        return f"`{command_for(missing)}` brings its trees."
    return ""
