# SPDX-License-Identifier: Apache-2.0
"""What a run compares, in which order. Names and paths only; starts nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.encoders.devices import check_dtype
from mmparity.errors import MmparityError
from mmparity.feasible import check_options, check_plan
from mmparity.project import known
from mmparity.workload.cases import (
    CASES,
    DEFAULT_CASES,
    Case,
    Grid,
    noise_case,
    parse_grid,
)
from mmparity.workload.models import DEFAULT_MODEL, MODELS
from mmparity.workload.models import get as get_model
from mmparity.workload.pairs import (
    DEFAULT_PAIRS,
    MODEL_PAIRS,
    QUANTIZED_PAIRS,
    choose_pairs,
    has_encoder,
)
from mmparity.workload.trees import check_trees_used
from mmparity.workload.trees import find_trees as find_trees

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation

ORACLE = "hf"
ORACLE_DTYPE = "float64"
DEFAULT_DTYPES = ("float32", "bfloat16")
"""float32 first: it places a difference that bfloat16's noise hides."""
QUANTIZED_DTYPES = ("bfloat16",)
"""Ascend's W8A8 layers give bfloat16 or float16."""
FAST_DEPTH = 4
SWEEP_DEPTH = 2
"""Of several models: one block of each kind."""
CACHE_GIB = 48.0
"""Holds the default cases of all implementations, and those of a few edits."""
BYTES_PER_PATCH_AND_BLOCK = 3_500_000 / 32
"""Measured on float32 traces of Qwen2.5-VL-7B."""
STORED_BYTES = {"float64": 4, "float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Options:
    """The options of ``mmparity run`` and ``capture``, as given."""

    out: Path
    old: str | None = None
    new: str | None = None
    cases: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    depth: int | None = None
    tp: int = 1
    tp_mode: str = "weights"
    device: str = "cpu"
    grids: tuple[str, ...] = ()
    checkpoint: Path | None = None
    trees: tuple[str, ...] = ()
    fast: bool = False
    keep_traces: bool = False
    threads: int | None = None
    models: tuple[str, ...] = ()
    full_depth: bool = False
    graft: str = "failing"
    statistics: bool = False
    only: str = ""
    cache: Path | None = None
    cache_limit: float = CACHE_GIB
    ray: str | None = None


@dataclass(frozen=True)
class Plan:
    """Checked options: every name is known and every tree is there."""

    options: Options
    pairs: tuple[tuple[str, str], ...]
    cases: tuple[Case, ...]
    dtypes: tuple[str, ...]
    depth: int | None
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    """Implementation -> source -> folder."""
    model: str | None = None
    """None: the default model, which --model did not name."""

    @property
    def quantized(self) -> bool:
        """Whether its cases are run with a W8A8 checkpoint."""
        return self.cases[0].quantized

    @property
    def tp(self) -> int:
        """Ranks that every side but the oracle is spread over."""
        return self.options.tp

    @property
    def data_parallel(self) -> bool:
        """Whether ranks take some of the images each, and not some of the weights."""
        return self.tp > 1 and self.options.tp_mode == "data"

    def case_name(self, case: Case) -> str:
        """The case's name in results; the default model's need no prefix."""
        if self.model is None and self.tp == 1:
            return case.name
        mode = "-data" if self.data_parallel else ""
        ranks = f"-tp{self.tp}{mode}" if self.tp > 1 else ""
        return f"{self.model or DEFAULT_MODEL}{ranks}/{case.name}"

    def dtypes_of(self, implementation: str) -> tuple[str, ...]:
        """The oracle runs in float64, whatever else is asked."""
        return (ORACLE_DTYPE,) if implementation == ORACLE else self.dtypes

    def trace_dir(self, implementation: str, case: Case, dtype: str) -> Path:
        """Where one capture goes."""
        traces = self.options.out / "traces" / implementation
        return traces / f"{self.case_name(case)}-{dtype}"

    def grafted_dir(self, old: str, new: str, case: Case, dtype: str) -> Path:
        """Where the capture of ``new`` fed with ``old``'s tensors goes."""
        traces = self.options.out / "grafted" / f"{old}-{new}"
        return traces / f"{self.case_name(case)}-{dtype}"

    def repeat(self, old: str, new: str, case: Case, dtype: str) -> str:
        """The command that runs one case of one pair alone."""
        words = ["mmparity", "run", "--old", old, "--new", new]
        return shlex.join([*words, *self._words(case, dtype)])

    def repeat_capture(self, implementation: str, case: Case, dtype: str) -> str:
        """The command that captures one case alone, but for what to keep and where."""
        words = ["mmparity", "capture", implementation, *self._words(case, dtype)]
        return shlex.join(words)

    def _words(self, case: Case, dtype: str) -> list[str]:
        given = self.options
        words = []
        if self.model is not None:
            words += ["--model", self.model]
        if self.tp > 1:
            words += ["--tp", str(self.tp)]
        if self.data_parallel:
            words += ["--mm-encoder-tp-mode", "data"]
        if case.name in CASES:
            words += ["--case", case.name]
        for grid in given.grids:
            words += ["--grid", grid]
        words += ["--dtype", dtype]
        if self.depth is not None:
            words += ["--depth", str(self.depth)]
        if given.device != "cpu":
            words += ["--device", given.device]
        if given.checkpoint is not None:
            words += ["--checkpoint", str(given.checkpoint)]
        for tree in given.trees:
            words += ["--tree", tree]
        return words


def make_plans(
    options: Options, implementations: dict[str, Implementation]
) -> tuple[Plan, ...]:
    """The plan of each model asked for; of the default one where none is."""
    check_options(options)
    names = choose_models(options.models)
    if len(names) > 1 and options.checkpoint is not None:
        raise MmparityError(
            f"--checkpoint is one model's, but {len(names)} models are asked for."
        )
    if len(names) > 1 and not (options.depth or options.fast or options.full_depth):
        options = replace(options, depth=SWEEP_DEPTH)
    plans = []
    for name in names:
        cases = list(options.cases)
        if not cases and not options.grids:
            cases = [case.name for case in DEFAULT_CASES]
        if options.models == ("all",) and not options.cases and name == DEFAULT_MODEL:
            cases += [case.name for case in CASES.values() if case.quantized]
        for case_name in cases:
            known("case", case_name, CASES)
        for quantized in (False, True):
            chosen = tuple(n for n in cases if CASES[n].quantized == quantized)
            grids = () if quantized else options.grids
            if chosen or grids:
                part = replace(options, cases=chosen, grids=grids)
                plans.append(make_plan(part, implementations, name))
    taking_part = {name for plan in plans for name in plan.trees}
    check_trees_used(options.trees, taking_part, implementations)
    return tuple(plans)


def choose_models(names: Iterable[str]) -> tuple[str | None, ...]:
    """Names, also several with commas, and ``all``."""
    split = [part for text in names for part in text.split(",") if part]
    if "all" in split:
        return tuple(MODELS)
    return tuple(get_model(name).name for name in dict.fromkeys(split)) or (None,)


def make_plan(
    options: Options,
    implementations: dict[str, Implementation],
    model: str | None = None,
) -> Plan:
    """Checks the options of a comparison and fills in the defaults."""
    defaults = DEFAULT_PAIRS if model is None else MODEL_PAIRS
    if any(name in CASES and CASES[name].quantized for name in options.cases):
        defaults = QUANTIZED_PAIRS
    pairs = choose_pairs(options.old, options.new, implementations, model, defaults)
    sides = {side for pair in pairs for side in pair}
    return _plan(options, pairs, sides | {ORACLE}, sides, implementations, model)


def make_capture_plan(
    options: Options, implementation: str, implementations: dict[str, Implementation]
) -> Plan:
    """The plan of capturing one implementation, without a comparison."""
    name = known("implementation", implementation, implementations)
    check_options(options)
    check_trees_used(options.trees, {name}, implementations)
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
    return _plan(options, (), {name}, {name}, implementations, models[0])


def _plan(
    options: Options,
    pairs: tuple[tuple[str, str], ...],
    names: set[str],
    sides: set[str],
    implementations: dict[str, Implementation],
    model: str | None,
) -> Plan:
    cases = choose_cases(options.cases, options.grids)
    dtypes = tuple(dict.fromkeys(options.dtypes)) or DEFAULT_DTYPES
    if cases[0].quantized:
        dtypes = tuple(d for d in dtypes if d in QUANTIZED_DTYPES)
        if not dtypes or not all(case.quantized for case in cases):
            raise MmparityError(
                f"case {cases[0].name!r} runs in {', '.join(QUANTIZED_DTYPES)} only, "
                "and for itself."
            )
    for name in sorted(sides):
        for dtype in dtypes:
            check_dtype(implementations[name], dtype)
    depth = FAST_DEPTH if options.fast else options.depth
    trees = find_trees(sorted(names), options.trees, implementations)
    plan = Plan(options, pairs, cases, dtypes, depth, trees, model)
    check_plan(plan, implementations)
    return plan


def choose_cases(names: Iterable[str], grids: Iterable[str]) -> tuple[Case, ...]:
    """The cases by name and the one of ``--grid``; all default cases for neither."""
    chosen = [CASES[known("case", name, CASES)] for name in dict.fromkeys(names)]
    parsed: tuple[Grid, ...] = tuple(parse_grid(text) for text in grids)
    if parsed:
        chosen.append(noise_case(parsed))
    return tuple(chosen) or DEFAULT_CASES


def peak_trace_bytes(plan: Plan, blocks: int) -> int:
    """The most that traces take at once when each goes as soon as it can."""
    patches = sum(case.patches for case in plan.cases)
    per_byte = patches * blocks * BYTES_PER_PATCH_AND_BLOCK / 4

    def size(name: str) -> float:
        return per_byte * sum(STORED_BYTES[dtype] for dtype in plan.dtypes_of(name))

    if not plan.pairs:
        return int(sum(size(name) for name in plan.trees))
    held, most = {ORACLE}, 0.0
    for index, pair in enumerate(plan.pairs):
        held.update(pair)
        most = max(most, sum(size(name) for name in held))
        if not plan.options.keep_traces:
            held = {ORACLE} | (held & needed_after(plan.pairs, index))
    return int(most)


def needed_after(pairs: tuple[tuple[str, str], ...], index: int) -> set[str]:
    """The implementations that pairs after ``index`` still need."""
    return {side for pair in pairs[index + 1 :] for side in pair}
