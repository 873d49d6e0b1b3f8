# SPDX-License-Identifier: Apache-2.0
"""Options -> what a run compares, in which order. Names and paths only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mmparity.encoders.devices import check_dtype
from mmparity.errors import MmparityError
from mmparity.project import known
from mmparity.run.feasible import check_options, check_plan
from mmparity.run.plan import (
    DEFAULT_DTYPES,
    FAST_DEPTH,
    NPU_DTYPES,
    ORACLE,
    ORACLE_DTYPE,
    QUANTIZED_DTYPES,
    SWEEP_DEPTH,
    Options,
    Plan,
)
from mmparity.workload.cases import (
    CASES,
    Case,
    Grid,
    cases_of,
    default_cases,
    noise_case,
    parse_grid,
)
from mmparity.workload.hub import local_folder
from mmparity.workload.implementation import TODAY
from mmparity.workload.models import DEFAULT_MODEL, MODELS
from mmparity.workload.models import get as get_model
from mmparity.workload.pairs import (
    DEFAULT_PAIRS,
    MODEL_PAIRS,
    QUANTIZED_PAIRS,
    TODAY_MODELS,
    TODAY_PAIRS,
    TOWER_PAIRS,
    choose_pairs,
    has_encoder,
)
from mmparity.workload.pythons import (
    check_pythons_run,
    check_pythons_used,
    find_pythons,
)
from mmparity.workload.towers import TOWERS
from mmparity.workload.trained_file import why_missing
from mmparity.workload.trees import check_trees_used, find_trees

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation


def make_plans(
    options: Options, implementations: dict[str, Implementation]
) -> tuple[Plan, ...]:
    """The plan of each model asked for; of the default one where none is."""
    check_options(options)
    if options.environment == TODAY and not options.models:
        options = replace(options, models=TODAY_MODELS)
    names = _taking_part(options)
    if len(names) > 1 and options.checkpoint is not None:
        raise MmparityError(
            f"--checkpoint is one model's, but {len(names)} models are asked for."
        )
    sweep = len(names) > 1 and not (options.depth or options.fast)
    plans = []
    for name in names:
        known_cases = cases_of(name)
        cases = list(options.cases)
        if not cases and not options.grids:
            cases = [case.name for case in default_cases(name)]
        whole = name == DEFAULT_MODEL and options.models == ("all",)
        if whole and not options.cases and _takes_quantized(options, implementations):
            cases += [case.name for case in CASES.values() if case.quantized]
        for case_name in cases:
            known("case", case_name, known_cases)
        for quantized in (False, True):
            chosen = tuple(n for n in cases if known_cases[n].quantized == quantized)
            grids = () if quantized else options.grids
            if chosen or grids:
                part = replace(options, cases=chosen, grids=grids)
                if sweep and not (options.full_depth or get_model(str(name)).trained):
                    part = replace(part, depth=SWEEP_DEPTH)
                plans.append(make_plan(part, implementations, name))
    plans[0] = replace(plans[0], left_out=left_out(options.models))
    taking_part = {name for plan in plans for name in plan.trees}
    check_trees_used(options.trees, taking_part, implementations)
    check_pythons_used(options.pythons, taking_part, implementations)
    return tuple(plans)


def _takes_quantized(
    options: Options, implementations: dict[str, Implementation]
) -> bool:
    """Whether the sides that are named, if any, load W8A8 as vllm-ascend does."""
    named = [implementations.get(name) for name in (options.old, options.new) if name]
    return all(side is None or side.ascend for side in named)


def _taking_part(options: Options) -> tuple[str | None, ...]:
    """The models asked for, of all those that have what is named."""
    found = [name for name in choose_models(options.models) if _takes(name, options)]
    if not found:
        wanted = [*options.cases, *filter(None, (options.old, options.new))]
        raise MmparityError(
            f"no model has all of {', '.join(wanted)}. `mmparity list cases` and "
            "`mmparity list implementations` show the names."
        )
    return tuple(found)


def _takes(name: str | None, options: Options) -> bool:
    """Whether a model is named, or of all models has the cases and sides that are."""
    if options.models != ("all",):
        return True
    sides = {side for side in (options.old, options.new) if side}
    of_towers = {side for pair in TOWER_PAIRS for side in pair}
    if name in TOWERS and (options.environment == TODAY or not sides <= of_towers):
        return False
    return set(options.cases) <= cases_of(name).keys()


def choose_models(names: Iterable[str]) -> tuple[str | None, ...]:
    """Names, also several with commas, and ``all``."""
    split = [part for text in names for part in text.split(",") if part]
    if "all" in split:
        return tuple(name for name in MODELS if not why_missing(name))
    return tuple(get_model(name).name for name in dict.fromkeys(split)) or (None,)


def left_out(names: Iterable[str]) -> tuple[str, ...]:
    """Of ``all`` models those that can't be run here, each with the reason."""
    if not any("all" in text.split(",") for text in names):
        return ()
    missing = {name: why_missing(name) for name in MODELS}
    return tuple(f"{name}: {why}" for name, why in missing.items() if why)


def make_plan(
    options: Options,
    implementations: dict[str, Implementation],
    model: str | None = None,
) -> Plan:
    """Checks the options of a comparison and fills in the defaults."""
    defaults = DEFAULT_PAIRS if model is None else MODEL_PAIRS
    defaults = TOWER_PAIRS if model in TOWERS else defaults
    if options.environment == TODAY:
        defaults = TODAY_PAIRS
    elif any(name in CASES and CASES[name].quantized for name in options.cases):
        defaults = QUANTIZED_PAIRS
    pairs = choose_pairs(options.old, options.new, implementations, model, defaults)
    sides = {side for pair in pairs for side in pair}
    oracle = {ORACLE} if has_encoder(implementations[ORACLE], model) else set()
    return plan_of(options, pairs, sides | oracle, sides, implementations, model)


def make_capture_plan(
    options: Options, implementation: str, implementations: dict[str, Implementation]
) -> Plan:
    """The plan of capturing one implementation, without a comparison."""
    name = known("implementation", implementation, implementations).name
    check_options(options)
    check_trees_used(options.trees, {name}, implementations)
    check_pythons_used(options.pythons, {name}, implementations)
    if options.statistics and (options.only or options.tp > 1):
        other = "--only, which keeps tensors" if options.only else f"--tp {options.tp}"
        raise MmparityError(f"--statistics does not go with {other}.")
    if options.only and options.tp > 1:
        raise MmparityError(f"--only does not go with --tp {options.tp}.")
    models = choose_models(options.models)
    if len(models) > 1:
        raise MmparityError("capture takes one --model at a time.")
    if not has_encoder(implementations[name], models[0]):
        raise MmparityError(f"{name} has no encoder for {models[0]}.")
    if implementations[name].oracle and not options.dtypes:
        options = replace(options, dtypes=(ORACLE_DTYPE,))
    return plan_of(options, (), {name}, {name}, implementations, models[0])


def plan_of(
    options: Options,
    pairs: tuple[tuple[str, str], ...],
    names: set[str],
    sides: set[str],
    implementations: dict[str, Implementation],
    model: str | None,
) -> Plan:
    """The checked plan of these pairs; ``names`` run and ``sides`` are compared."""
    cases = choose_cases(options.cases, options.grids, model)
    dtypes = tuple(dict.fromkeys(options.dtypes)) or _default_dtypes(
        options.device, (implementations[name] for name in sides)
    )
    if cases[0].quantized:
        dtypes = tuple(d for d in dtypes if d in QUANTIZED_DTYPES)
        if not dtypes or not all(case.quantized for case in cases):
            raise MmparityError(
                f"case {cases[0].name!r} runs in {', '.join(QUANTIZED_DTYPES)} only, "
                "and for itself."
            )
    for name in sorted(sides):
        for dtype in dtypes:
            check_dtype(implementations[name], dtype, options.device)
    depth = FAST_DEPTH if options.fast else options.depth
    trees = find_trees(sorted(names), options.trees, implementations)
    defaults = {name: dict(implementations[name].trees) for name in trees}
    if options.checkpoint is not None:
        options = replace(options, checkpoint=local_folder(options.checkpoint))
    plan = Plan(options, pairs, cases, dtypes, depth, trees, defaults, model=model)
    check_plan(plan, implementations)
    pythons = find_pythons(sorted(names), options.pythons, implementations)
    if pythons and options.ray is not None:
        raise MmparityError(
            f"--ray: {', '.join(pythons)} need a Python that its nodes may not have. "
            "Leave --ray out."
        )
    check_pythons_run(pythons, implementations)
    return replace(plan, pythons=pythons)


def _default_dtypes(device: str, sides: Iterable[Implementation]) -> tuple[str, ...]:
    lacks = device == "npu" and any(side.float32_attention for side in sides)
    return NPU_DTYPES if lacks else DEFAULT_DTYPES


def choose_cases(
    names: Iterable[str], grids: Iterable[str], model: str | None = None
) -> tuple[Case, ...]:
    """The cases by name and the one of ``--grid``; all default cases for neither."""
    chosen = [known("case", name, cases_of(model)) for name in dict.fromkeys(names)]
    parsed: tuple[Grid, ...] = tuple(parse_grid(text) for text in grids)
    if parsed:
        chosen.append(noise_case(parsed))
    return tuple(chosen) or default_cases(model)
