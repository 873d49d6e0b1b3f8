# SPDX-License-Identifier: Apache-2.0
"""The data that travels through the harness, as frozen dataclasses.

No torch, no I/O and no formatting live here: capture fills these, compare
reads and extends them, every report renders them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmparity.types.engine import EngineResult
from mmparity.types.evidence import (
    CodeAt,
    PatchText,
    ReplacedCode,
    Reuse,
    Since,
    TreeChanges,
)
from mmparity.types.provenance import Provenance
from mmparity.types.row import Fault, LayerComparison, TokenMap
from mmparity.types.stages import Stages
from mmparity.types.trace import TraceMeta, Unmatched
from mmparity.types.verdict import Verdict

SCHEMA_VERSION = 2

PrecisionKind = Literal["structural", "dtype path", "rounding only", "equal", "unknown"]

Expected = Literal["identical", "floor"]
"""What a pair is held to: the same bits, or no more than noise."""

StructureVerdict = Literal["intended", "undeclared", "not judged", "not recorded"]


@dataclass(frozen=True)
class Coverage:
    """Executed modules and operators of both sides of one case, by what became of them.

    Attributes:
        executed: all of them; the four classes below add up to it.
        matched: in a row, as they are.
        equivalent: in a row after a declared transform (split, joined, un-padded).
        absent: declared to have no row, with a reason.
        uncovered: neither; one of them fails the case.
        percent: share of executed that is not uncovered.
        uncovered_paths: side and path of each uncovered one.
    """

    executed: int
    matched: int
    equivalent: int
    absent: int
    uncovered: int
    percent: float
    uncovered_paths: tuple[str, ...]

    def __post_init__(self) -> None:
        classes = self.matched + self.equivalent + self.absent + self.uncovered
        assert classes == self.executed, (classes, self.executed)


@dataclass(frozen=True)
class StructuralDifference:
    """One difference between what two encoders are made of.

    Attributes:
        part: ``modules``, ``parameters``, ``buffers``, ``signatures``,
            ``hyper_parameters`` or ``state_dict``.
        kind: ``changed``, ``only in old`` or ``only in new``.
        path: what differs, ``{i}`` for the number of a block.
        blocks: the blocks where that is so; empty outside of blocks.
        old: as text; empty where new alone has it.
        new: as text; empty where old alone has it.
        verdict: ``undeclared`` fails the case; ``not judged`` where no series leads
            from old to new; ``not recorded`` where a trace, as one made of a foreign
            dump, does not say what its encoder is made of: nothing was compared.
        patch: slug of the patch that intends it; ``upstream`` where vLLM changed it.
        why: its reason, from ``patches/intended.toml``, or why it is not judged.
    """

    part: str
    kind: str
    path: str
    blocks: tuple[int, ...]
    old: str
    new: str
    verdict: StructureVerdict
    patch: str = ""
    why: str = ""


@dataclass(frozen=True)
class CaseComparison:
    """One case, one dtype, one pair of implementations."""

    id: str
    """``<name>/<dtype>/<old>:<new>``, unique in a comparison."""
    name: str
    dtype: str
    old: str
    new: str
    oracle: str | None
    verdict: Verdict
    reason: str
    description: str
    grid_thw: tuple[tuple[int, int, int], ...]
    layers: tuple[LayerComparison, ...]
    unmatched: tuple[Unmatched, ...]
    structure: tuple[StructuralDifference, ...]
    """What both sides are made of differs here; an undeclared one fails the case."""
    old_meta: TraceMeta | None
    new_meta: TraceMeta | None
    repeat: str
    """The shell command that repeats this case alone."""
    coverage: Coverage | None = None
    """None where nothing was captured, or an older version wrote the result."""
    token_maps: tuple[TokenMap, ...] = ()
    """Of the earliest failing rows."""
    pictures: tuple[str, ...] = ()
    """The images as the encoder got them, frames side by side, small JPEG files as
    data URIs; only of a case with token maps."""
    faults: tuple[Fault, ...] = ()
    """The independent ones, in order of execution; only of a case that was grafted."""
    not_grafted: dict[str, str] = field(default_factory=dict)
    """Hook points where new could not be fed old's tensor, with the reason."""
    expected: Expected = "floor"
    """What the pair was held to."""
    code: tuple[CodeAt, ...] = ()
    """Of both sides at the first failing row."""


@dataclass(frozen=True)
class FirstDivergence:
    """The earliest failing row: of integers and control tensors first, then of floats.

    Attributes:
        descent: from the outermost module to the row, how many rows of each fail.
        about: what lies between the row and those before it, in words.
    """

    case: str
    """``CaseComparison.id``."""
    hook_point: str
    reason: str
    exceeded: str | None
    value: float | None
    allowed: float | None
    worst_index: tuple[int, ...] | None
    old_at_worst: float | None
    new_at_worst: float | None
    last_passing: str | None
    later_failing: int
    later_total: int
    descent: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class PrecisionVerdict:
    """The same case of the same pair in float32 and in a narrower dtype.

    Attributes:
        high: ``CaseComparison.id`` of the case in float32.
        low: that of the case in the narrower dtype.
        verdict: the most serious kind of any hook point.
        counts: kind -> number of hook points.
        first: kind -> first hook point of that kind, in order of execution.
        kinds: hook point -> kind. ``structural`` fails in float32 already, ``dtype
            path`` in the narrower dtype alone, ``rounding only`` differs and passes
            in both, ``equal`` has the same bits in both; ``unknown`` is not in both.
    """

    high: str
    low: str
    verdict: PrecisionKind
    counts: dict[str, int]
    first: dict[str, str]
    kinds: dict[str, PrecisionKind]


@dataclass(frozen=True)
class Summary:
    """Rows over all cases; ``passed + failed + unmatched == total``.

    ``failed`` counts rows with verdict fail or error and unexplained unmatched
    ones; ``unmatched`` counts those with a declared reason.
    """

    passed: int
    failed: int
    unmatched: int
    total: int

    def __post_init__(self) -> None:
        counted = self.passed + self.failed + self.unmatched
        assert counted == self.total, (counted, self.total)


@dataclass(frozen=True)
class ComparisonResult:
    """Everything that a report shows; written as ``comparison.json``."""

    verdict: Verdict
    summary: Summary
    first_divergence: FirstDivergence | None
    cases: tuple[CaseComparison, ...]
    provenance: Provenance
    precision: tuple[PrecisionVerdict, ...] = ()
    replaced: tuple[ReplacedCode, ...] = ()
    """Where an Ascend implementation was compared."""
    patches: tuple[PatchText, ...] = ()
    """Those that ``replaced`` and the structural differences name."""
    engine: EngineResult | None = None
    """Where ``mmparity engine`` wrote into the same folder."""
    reuse: Reuse | None = None
    """Where the run was given a cache of traces."""
    changes: tuple[TreeChanges, ...] = ()
    """Of each tree that is not as this project pins or patches it."""
    stages: Stages | None = None
    """Where the seconds of the run went; None of traces that were there already."""
    since: Since | None = None
    """Where the folder had the result of a run before, with cases of this one."""
    schema_version: int = SCHEMA_VERSION
