# SPDX-License-Identifier: Apache-2.0
"""What the benches measure, as data; two of anything are old's and new's."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmparity.types.provenance import Machine
from mmparity.types.trace import PerBlock


@dataclass(frozen=True)
class Conditions:
    """What figures are worth nothing without.

    Attributes:
        command: as a person types it.
        created: time in UTC.
        machine: that measured.
        versions: package -> version.
        repeats: of each measurement, at least.
        threads: of each process, where that is the same for all.
        processes: that share the repeats, where there are several.
        device: ``cpu``, or what the device calls itself.
    """

    command: str
    created: str
    machine: Machine
    versions: dict[str, str]
    repeats: int = 1
    threads: int | None = None
    processes: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class WorkerSettings:
    """Of one worker: the encoder that it builds, and on what."""

    implementation: str
    trees: dict[str, str]
    checkpoint: str
    dtype: str
    threads: int
    device: str


@dataclass(frozen=True)
class ForwardCounts:
    """Of one forward.

    Attributes:
        calls: dispatches.
        per_block: the difference between all blocks and half of them, for each.
        peak_bytes: the most that tensors made by the forward held at a time.
    """

    calls: int
    per_block: PerBlock
    peak_bytes: int


@dataclass(frozen=True)
class Growth:
    """Bytes of tensors that stay after many sizes, objects after many forwards."""

    bytes: int
    objects: int


@dataclass(frozen=True)
class PairGrowth:
    """What stays on both sides after so many image sizes and so many forwards."""

    sizes: int
    forwards: int
    old: Growth
    new: Growth


@dataclass(frozen=True)
class InputCost:
    """A forward of one input, on both sides.

    Attributes:
        title: of the input.
        calls: dispatches.
        peak_bytes: as ForwardCounts has it.
        seconds: the least of all processes.
        attention_seconds: in attention beside its linear layers.
        gemm_seconds: of new's matrix products alone; null where they were not timed.
        ratios: new over old in each pair of processes, the least first.
    """

    title: str
    calls: tuple[int, int]
    peak_bytes: tuple[int, int]
    seconds: tuple[float, float]
    attention_seconds: tuple[float, float]
    gemm_seconds: float | None
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class PairCost:
    """An encoder and the one that it replaces; ``per_block`` is of the first input."""

    old: str
    new: str
    dtype: str
    per_block: tuple[PerBlock, PerBlock]
    load_seconds: tuple[float, float]
    load_bytes: tuple[float, float]
    inputs: tuple[InputCost, ...]


@dataclass(frozen=True)
class RecordingCost:
    """What recording a forward takes, or why that could not be measured.

    Attributes:
        seconds: of each forward, ``plain`` and ``recorded``.
        extra_bytes: the most resident memory above that before a recording.
        written_bytes: of one recording.
        missing: why there are no figures; else empty.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    extra_bytes: int = 0
    written_bytes: int = 0
    missing: str = ""


@dataclass(frozen=True)
class StoredCost:
    """What comparing two stored traces takes, or why it could not be measured.

    Attributes:
        seconds: of each comparison.
        extra_bytes: the most memory above that before; a peer's largest process.
        rows: that were compared.
        differing: rows whose bits differ; null where nobody counts them.
        bytes: of one side.
        missing: why there are no figures; else empty.
    """

    seconds: list[float] = field(default_factory=list)
    extra_bytes: int = 0
    rows: int = 0
    differing: int | None = None
    bytes: int = 0
    missing: str = ""
