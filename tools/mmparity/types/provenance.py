# SPDX-License-Identifier: Apache-2.0
"""Where a result comes from: what ran, when, on what, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Machine:
    """What a run ran on, without anything that names the machine."""

    system: str = ""
    architecture: str = ""
    processor: str = ""
    cpus: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Source:
    """A source tree that ran.

    Attributes:
        version: of its release; this and the rest are empty where no pin names it.
        sha256: of the release's archive.
        tree: git tree id of what is in it.
        patches: file of each patch of its series -> sha256, in order.
        given: it was named by ``--tree``; what ran is in the traces' git tree ids.
    """

    version: str | None = None
    sha256: str | None = None
    tree: str | None = None
    patches: dict[str, str] = field(default_factory=dict)
    given: bool = False


@dataclass(frozen=True)
class Provenance:
    """Of a result; what does not apply is null or empty.

    Attributes:
        created: time in UTC.
        command: as a person types it.
        seconds: wall time.
        machine: what compared.
        sources: name of each tree that was used -> its pin and its patches.
        versions: name of each package -> version, as the captures recorded them.
        environments: implementation -> versions of its packages, where another
            Python ran it and they are not ``versions``.
        trees: implementation -> name of each of its trees -> git tree id.
        emulated: implementation -> emulated operators that were called.
        engines: of an engine's result, what was loaded as its compiled library.
        errors: what could not run.
        left_out: models that were not run, each with the reason.
        seconds_by_implementation: from a worker's turn until it was done.
        peak_memory_bytes: the most that the run held at a time.
        peak_memory_by_process: the most that each process held.
        tolerance_overrides: rules that replaced tolerances, with their reasons.
        null_floors: the null pairs that margins are measured against.
    """

    created: str = ""
    command: str = ""
    seconds: float | None = None
    machine: Machine | None = None
    sources: dict[str, Source] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    emulated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds_by_implementation: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    peak_memory_by_process: dict[str, int] = field(default_factory=dict)
    tolerance_overrides: tuple[str, ...] = ()
    null_floors: tuple[str, ...] = ()
