# SPDX-License-Identifier: Apache-2.0
"""What vLLM's whole engine did on either side, as a report shows it. No I/O.

``engine.json`` has this form; a comparison that has it shows it beside the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmparity.types.provenance import Provenance
from mmparity.types.verdict import Verdict

ENGINE_SCHEMA_VERSION = 1
EngineVerdict = Literal["pass", "fail", "error", "cannot run"]


@dataclass(frozen=True)
class EngineSummary:
    """Rows by verdict; the four numbers add up to ``total``."""

    passed: int
    failed: int
    errors: int
    cannot_run: int
    total: int


@dataclass(frozen=True)
class EngineRow:
    """One scenario of one model, served by two sides.

    Attributes:
        model: that was served.
        scenario: what was asked.
        old: side.
        new: side.
        verdict: ``cannot run``: a side refuses, as is declared for it.
        reason: why the verdict is not ``pass``.
        exact: every token, logprob and embedding has the same bits.
        tokens: that were compared.
        logprobs: that were compared.
        embeddings: that were compared.
        logprob_difference: the greatest.
        embedding_difference: the greatest, over the embedding's greatest value.
        notes: what a reader should know of a pass.
    """

    model: str
    scenario: str
    old: str
    new: str
    verdict: EngineVerdict
    reason: str = ""
    exact: bool = False
    tokens: int = 0
    logprobs: int = 0
    embeddings: int = 0
    logprob_difference: float | None = None
    embedding_difference: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnginePoint:
    """Resident memory of a side's process after so many requests."""

    requests: int
    resident_bytes: int


@dataclass(frozen=True)
class EngineFigures:
    """What one side's engine held.

    Attributes:
        side: implementation.
        model: that was served.
        images: distinct images that the encoder cache was filled with.
        held: moment -> ``entries`` of the encoder cache, ``entry_bytes``,
            ``held_bytes`` (what they keep alive), ``tensor_bytes`` (all tensors) and
            ``resident_bytes``; moments in order.
        points: over the requests that came after.
        seconds: that measuring took.
    """

    side: str
    model: str
    images: int
    held: dict[str, dict[str, int]]
    points: tuple[EnginePoint, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class EngineMemory:
    """One side's figures with their judgement.

    Attributes:
        figures: what was measured.
        growth: most resident memory after the warm-up over that at its end, less one.
        allowed: of it; null where the side is only shown.
        verdict: ``pass``, ``fail``, or ``shown`` for such a side.
        reason: why it is not a pass.
    """

    figures: EngineFigures
    growth: float | None
    allowed: float | None
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class EngineSpeed:
    """How fast one side answered.

    Attributes:
        side: implementation.
        model: that was served.
        requests: that were answered.
        requests_per_second: over all of them.
        tokens_per_second: generated, over all of them.
        first_token_seconds: median until the first token.
        token_seconds: median from one token to the next.
    """

    side: str
    model: str
    requests: int
    requests_per_second: float | None
    tokens_per_second: float | None
    first_token_seconds: float | None
    token_seconds: float | None


@dataclass(frozen=True)
class EngineResult:
    """Everything that serving on all sides showed.

    Attributes:
        verdict: an error outweighs a difference.
        summary: of ``rows``.
        rows: the same questions on both sides.
        memory: what either side held.
        runs: side -> platform, model, tower and operator that its workers named.
        errors: of processes that ended too early.
        provenance: as in a comparison.
        speed: where it was measured.
    """

    verdict: Verdict
    summary: EngineSummary
    rows: tuple[EngineRow, ...]
    memory: tuple[EngineMemory, ...]
    runs: dict[str, tuple[str, ...]]
    errors: tuple[str, ...]
    provenance: Provenance
    speed: tuple[EngineSpeed, ...] = ()

    def __post_init__(self) -> None:
        judged = {row.verdict for row in self.rows} | {m.verdict for m in self.memory}
        wrong = {"fail", "error"} & judged
        assert self.verdict != "pass" or not (wrong or self.errors), "a false pass"
