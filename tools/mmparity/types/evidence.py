# SPDX-License-Identifier: Apache-2.0
"""What a result says beside its cases: replaced code, patches, reused traces."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmparity.types.verdict import Verdict


@dataclass(frozen=True)
class ReplacedCode:
    """One reason why vllm-ascend overrode vLLM's encoders, and what stands for it now.

    Attributes:
        row: its name in ``patches/overrides.toml``.
        title: the reason.
        overrides: release, file and method of each override.
        patches: slugs of the patches; ``upstream`` where vLLM has it without one.
        proofs: MODEL OLD:NEW HOOK_POINT of the rows that show it, as in that file.
    """

    row: str
    title: str
    overrides: tuple[str, ...]
    patches: tuple[str, ...]
    proofs: tuple[str, ...]


@dataclass(frozen=True)
class CodeAt:
    """The code of one side at a case's first failing row.

    Attributes:
        side: ``old`` or ``new``.
        module: path of the module, or of the one that an operator runs inside.
        file: from the root of its tree; ``first`` and ``last`` are its lines.
        text: these lines, where the tree was there to be read.
    """

    side: str
    module: str
    file: str
    first: int
    last: int
    text: str = ""


@dataclass(frozen=True)
class FileChange:
    """A file of a tree that is not its base's: its path and a unified diff."""

    file: str
    diff: str


@dataclass(frozen=True)
class TreeChanges:
    """How a tree that ran differs from the one that this project pins or patches.

    Attributes:
        tree: implementation and source, as ``--tree`` names them.
        folder: name of the tree's folder.
        base: folder of the base from ``vllm_src/``.
        patches: number of patches of the base's series.
        files: each changed Python file.
        count: how many there are; more than ``files`` where many differ.
    """

    tree: str
    folder: str
    base: str
    patches: int
    files: tuple[FileChange, ...]
    count: int


@dataclass(frozen=True)
class CaseSince:
    """A case in which a verdict is another one than in the run before.

    Attributes:
        case: its id.
        then: its verdict in the run before, and ``now`` in this one.
        broken: number of rows that passed and do not now.
        mended: number of rows that did not pass and do now.
        first: the earliest broken row, or else the earliest mended one.
    """

    case: str
    then: Verdict
    now: Verdict
    broken: int
    mended: int
    first: str


@dataclass(frozen=True)
class Since:
    """What became of the rows of the run before, in the same folder.

    Attributes:
        created: when that one was made, in UTC.
        verdict: that one's.
        cases: those of both runs, and ``rows`` of these cases.
        moved: rows of the same verdict with another error.
        changed: the cases in which a verdict is another one.
    """

    created: str
    verdict: Verdict
    cases: int
    rows: int
    moved: int
    changed: tuple[CaseSince, ...]


@dataclass(frozen=True)
class PatchText:
    """One patch of a series: its title, and its diff without that of tests."""

    slug: str
    series: str
    title: str
    diff: str


@dataclass(frozen=True)
class ReusedTrace:
    """A trace that an earlier run captured, and this one did not.

    Attributes:
        implementation: that made it.
        case: name of the case.
        dtype: dtype the encoder ran in.
        digest: of all that makes it the same computation; its name in the cache.
        captured: when, in UTC; its ``seconds`` are of then.
    """

    implementation: str
    case: str
    dtype: str
    digest: str
    captured: str


@dataclass(frozen=True)
class Reuse:
    """What a run took from its cache of traces, and what not.

    Attributes:
        traces: those that were taken.
        captured: number of traces that this run made itself.
        reasons: implementation and why it was captured -> number of traces.
        cache_bytes: size of the cache at the end of the run.
    """

    traces: tuple[ReusedTrace, ...] = ()
    captured: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    cache_bytes: int = 0
