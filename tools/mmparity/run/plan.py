# SPDX-License-Identifier: Apache-2.0
"""A run as data: its options, what it compares, where its traces go."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from mmparity.types.comparison import Expected
from mmparity.workload.cases import (
    CASES,
    Case,
    cases_of,
)
from mmparity.workload.implementation import BASE
from mmparity.workload.models import DEFAULT_MODEL
from mmparity.workload.pairs import expected_of

ORACLE = "hf"
ORACLE_DTYPE = "float64"
DEFAULT_DTYPES = ("float32", "bfloat16")
"""float32 first: it places a difference that bfloat16's noise hides."""
NPU_DTYPES = ("bfloat16",)
"""Of released encoders on an NPU, whose attention operator has no float32."""
QUANTIZED_DTYPES = ("bfloat16",)
"""Ascend's W8A8 layers give bfloat16 or float16."""
FAST_DEPTH = 4
SWEEP_DEPTH = 2
"""Of several models: one block of each kind."""
CACHE_GIB = 48.0
"""Holds the default cases of all implementations, and those of a few edits."""
BYTES_PER_PATCH_AND_BLOCK = 3_500_000 / 32
"""Measured on float32 traces of Qwen2.5-VL-7B."""
STORED_BYTES = {"float64": 4, "float32": 4, "bfloat16": 2, "float16": 2}


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
    pythons: tuple[str, ...] = ()
    fast: bool = False
    keep_traces: bool = False
    threads: int | None = None
    models: tuple[str, ...] = ()
    environment: str = BASE
    """Whose pairs and models are compared where none are given."""
    full_depth: bool = False
    graft: str = "failing"
    statistics: bool = False
    only: str = ""
    cache: Path | None = None
    cache_limit: float = CACHE_GIB
    ray: str | None = None
    costs: str = ""
    """The dtype in which what each side costs is measured; empty for none."""
    expect: Expected | None = None
    """What every pair is held to; None for what is known of it."""


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
    default_trees: dict[str, dict[str, str]] = field(default_factory=dict)
    """Implementation -> source -> folder of the project's sources, if none is named."""
    pythons: dict[str, str] = field(default_factory=dict)
    """Implementation -> interpreter, where that is not the one of this process."""
    model: str | None = None
    """None: the default model, which --model did not name."""
    left_out: tuple[str, ...] = ()
    """Models asked for by ``all`` that can't be run here, each with the reason."""

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

    @property
    def oracle(self) -> tuple[str, ...]:
        """The oracle's name; none where transformers has no such encoder."""
        return (ORACLE,) if ORACLE in self.trees else ()

    def oracle_trace(self, case: Case) -> Path | None:
        """Where the oracle's trace of a case is; None where there is no oracle."""
        return self.trace_dir(ORACLE, case, ORACLE_DTYPE) if self.oracle else None

    def expected_of(self, old: str, new: str) -> Expected:
        """What a pair is held to."""
        known = expected_of(old, new, self.options.device, self.model)
        return self.options.expect or known

    def case_name(self, case: Case) -> str:
        """The case's name in results; the default model's need no prefix."""
        if self.model is None and self.tp == 1:
            return case.name
        mode = "-data" if self.data_parallel else ""
        ranks = f"-tp{self.tp}{mode}" if self.tp > 1 else ""
        return f"{self.model or DEFAULT_MODEL}{ranks}/{case.name}"

    def dtypes_of(self, implementation: str) -> tuple[str, ...]:
        """The oracle runs in float64, and in what is asked where it is a side too."""
        if implementation != ORACLE:
            return self.dtypes
        side = any(ORACLE in pair for pair in self.pairs)
        return (ORACLE_DTYPE, *self.dtypes) if side else (ORACLE_DTYPE,)

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
        elif case.name not in cases_of(self.model):
            words += [word for grid in given.grids for word in ("--grid", grid)]
        words += ["--dtype", dtype]
        if self.depth is not None:
            words += ["--depth", str(self.depth)]
        words += ["--expect", given.expect] if given.expect else []
        words += ["--device", given.device] if given.device != "cpu" else []
        if given.checkpoint is not None:
            words += ["--checkpoint", str(given.checkpoint)]
        for tree in given.trees:
            words += ["--tree", tree]
        for python in given.pythons:
            words += ["--python", python]
        return words


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
