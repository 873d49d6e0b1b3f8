# SPDX-License-Identifier: Apache-2.0
"""What a run compares, in which order. Names and paths only; starts nothing."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.cases import CASES, Case, Grid, noise_case, parse_grid
from mmparity.types import MmparityError

if TYPE_CHECKING:
    from mmparity.implementations import Implementation

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "vllm_src"
ORACLE = "hf"
ORACLE_DTYPE = "float64"
DEFAULT_PAIRS = (
    ("ascend-0.11.0", "unified-ascend"),
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("vllm-0.12.0", "unified"),
)
DEFAULT_DTYPES = ("float32", "bfloat16")
"""float32 first: it places a difference that bfloat16's noise hides."""
DTYPES = (*DEFAULT_DTYPES, "float64")
FAST_DEPTH = 4
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
    device: str = "cpu"
    grids: tuple[str, ...] = ()
    checkpoint: Path | None = None
    trees: tuple[str, ...] = ()
    fast: bool = False
    keep_traces: bool = False
    threads: int | None = None


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

    def dtypes_of(self, implementation: str) -> tuple[str, ...]:
        """The oracle runs in float64, whatever else is asked."""
        return (ORACLE_DTYPE,) if implementation == ORACLE else self.dtypes

    def trace_dir(self, implementation: str, case: str, dtype: str) -> Path:
        """Where one capture goes."""
        return self.options.out / "traces" / implementation / f"{case}-{dtype}"

    def repeat(self, old: str, new: str, case: Case, dtype: str) -> str:
        """The command that runs one case of one pair alone."""
        given = self.options
        words = ["mmparity", "run", "--old", old, "--new", new]
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
        return shlex.join(words)


def make_plan(options: Options, implementations: dict[str, Implementation]) -> Plan:
    """Checks the options of a comparison and fills in the defaults."""
    pairs = _pairs(options, implementations)
    sides = {side for pair in pairs for side in pair}
    return _plan(options, pairs, sides | {ORACLE}, sides, implementations)


def make_capture_plan(
    options: Options, implementation: str, implementations: dict[str, Implementation]
) -> Plan:
    """The plan of capturing one implementation, without a comparison."""
    name = known("implementation", implementation, implementations)
    if implementations[name].oracle and not options.dtypes:
        options = replace(options, dtypes=(ORACLE_DTYPE,))
    return _plan(options, (), {name}, {name}, implementations)


def _plan(
    options: Options,
    pairs: tuple[tuple[str, str], ...],
    names: set[str],
    sides: set[str],
    implementations: dict[str, Implementation],
) -> Plan:
    if options.tp != 1:
        raise MmparityError(
            f"--tp {options.tp}: tensor-parallel captures cannot be made yet. "
            "Allowed: --tp 1"
        )
    cases = choose_cases(options.cases, options.grids)
    dtypes = tuple(dict.fromkeys(options.dtypes)) or DEFAULT_DTYPES
    for name in sorted(sides):
        for dtype in dtypes:
            check_dtype(implementations[name], dtype)
    depth = options.depth
    if depth is None and options.fast:
        depth = FAST_DEPTH
    trees = find_trees(sorted(names), options.trees, implementations)
    return Plan(options, pairs, cases, dtypes, depth, trees)


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """The name, or an error that suggests the closest one."""
    names = list(names)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Closest: {close[0]!r}." if close else ""
    raise MmparityError(
        f"unknown {kind} {name!r}.{hint} `mmparity list {kind}s` shows all "
        f"({', '.join(names)})."
    )


def choose_cases(names: Iterable[str], grids: Iterable[str]) -> tuple[Case, ...]:
    """The cases by name and the one of ``--grid``; all default cases for neither."""
    chosen = [CASES[known("case", name, CASES)] for name in dict.fromkeys(names)]
    parsed: tuple[Grid, ...] = tuple(parse_grid(text) for text in grids)
    if parsed:
        chosen.append(noise_case(parsed))
    return tuple(chosen) or tuple(CASES.values())


def check_dtype(implementation: Implementation, dtype: str) -> None:
    """Refuses a dtype that an implementation does not run in."""
    allowed = (ORACLE_DTYPE,) if implementation.oracle else DTYPES
    if dtype not in allowed:
        raise MmparityError(
            f"{implementation.name} does not run in {dtype!r}. "
            f"Allowed: {', '.join(allowed)}"
        )


def find_trees(
    names: Iterable[str],
    overrides: Iterable[str],
    implementations: dict[str, Implementation],
) -> dict[str, dict[str, str]]:
    """The source trees of each implementation, ``--tree`` before the default."""
    given: dict[tuple[str, str], Path] = {}
    for text in overrides:
        key, folder = _parse_tree(text, implementations)
        given[key] = folder
    found: dict[str, dict[str, str]] = {}
    for name in names:
        found[name] = {}
        for source, default in implementations[name].trees.items():
            folder = given.get((name, source), SOURCES / default)
            if not folder.is_dir():
                make = (
                    "make apply" if default.startswith("patched/") else "make sources"
                )
                raise MmparityError(
                    f"{name} needs {source} in {folder}, which is not there. "
                    f"Run `{make}`, or give --tree {name}:{source}=DIR."
                )
            found[name][source] = str(folder)
    return found


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


def _pairs(
    options: Options, implementations: dict[str, Implementation]
) -> tuple[tuple[str, str], ...]:
    old, new = options.old, options.new
    for name in (old, new):
        if name is not None:
            known("implementation", name, implementations)
    if old is not None and new is not None:
        return ((old, new),)
    pairs = tuple(
        pair
        for pair in DEFAULT_PAIRS
        if old in (None, pair[0]) and new in (None, pair[1])
    )
    if not pairs:
        option, other = ("--old", "--new") if new is None else ("--new", "--old")
        raise MmparityError(
            f"{option} {old or new} is in no default pair: give {other} too."
        )
    return pairs


def _parse_tree(
    text: str, implementations: dict[str, Implementation]
) -> tuple[tuple[str, str], Path]:
    target, equals, folder = text.partition("=")
    name, colon, source = target.partition(":")
    if not (equals and colon and folder):
        raise MmparityError(
            f"--tree {text!r} is not IMPL:SOURCE=DIR, for example "
            "unified:vllm=../vllm-fork"
        )
    known("implementation", name, implementations)
    if source not in implementations[name].trees:
        raise MmparityError(
            f"--tree {text!r}: {name} has no source {source!r}. "
            f"Allowed: {', '.join(implementations[name].trees) or 'none'}"
        )
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise MmparityError(f"--tree {text!r}: {path} is not a folder.")
    return (name, source), path
