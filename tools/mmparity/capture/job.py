# SPDX-License-Identifier: Apache-2.0
"""What the parent asks a worker process to do, and what the worker answers.

Plain JSON both ways: the job is a file, the answers are lines on the worker's
real standard output. Nothing here imports torch or starts a process.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mmparity.errors import MmparityError
from mmparity.files import write_text

EventName = Literal[
    "loading",
    "imported",
    "loaded",
    "capturing",
    "captured",
    "raised",
    "kept",
    "reused",
    "noted",
    "done",
    "error",
]
"""``reused`` and ``noted`` come of the parent itself, not of a worker."""
ErrorKind = Literal["input", "internal"]

GO = "go\n"
"""What the parent writes to a started worker when its turn has come."""
EXIT_DONE = 0
EXIT_ERROR = 2


OTHER_KERNELS = "other"


@dataclass(frozen=True)
class CaptureJob:
    """One forward to capture: which inputs, in which dtype, to which trace."""

    case: str
    inputs: str
    """The safetensors file that ``mmparity.workload.inputs.write_inputs`` made."""
    dtype: str
    out: str
    """The folder of the trace."""
    model: str = ""
    """Name of the model, for the trace."""
    checkpoint: str | None = None
    """Where it is another one than the job's."""
    graft: str | None = None
    """Folder of the trace whose tensors the encoder is fed at each hook point."""
    kernels: str | None = None
    """``other``: SDPA and products are computed by other kernels."""
    statistics: str | None = None
    """Statistics are kept, not tensors; the command that captures this case again."""
    only: str = ""
    """Hook points that are kept, with commas; all where empty."""
    kept: bool = False
    """Nobody reads the trace at once: it need not fill the page cache."""
    second: bool = False
    """A forward of other pixels on the same grids comes first and is not recorded."""
    counted: bool = False
    """The calls of its forward are counted, in one more forward."""
    costs: bool = False
    """What its encoder costs over many forwards is measured, after the capture."""

    @property
    def partial(self) -> bool:
        """Whether it makes something else than the free-running encoder's tensors."""
        less = self.statistics is not None or bool(self.only)
        return less or self.graft is not None

    def checkpoint_in(self, job: Job) -> str:
        """Its checkpoint: its own, or the job's."""
        return self.checkpoint or job.checkpoint


@dataclass(frozen=True)
class Job:
    """Everything that one worker process runs: one implementation, many captures."""

    implementation: str
    trees: dict[str, str]
    """Source (``vllm`` or ``vllm-ascend``) -> folder of its unpacked tree."""
    checkpoint: str
    captures: tuple[CaptureJob, ...]
    device: str = "cpu"
    depth: int | None = None
    threads: int | None = None
    tp: int = 1
    """Ranks that the encoder is spread over."""
    data_parallel: bool = False
    """Each of them has the whole encoder and takes some of the images."""
    rank: int | None = None
    """Of a process that one of them runs in."""
    meeting_point: str | None = None
    """Where the ranks find each other, as torch.distributed's init_method."""
    rank_logs: str | None = None
    """Folder of the ranks' logs."""
    silence_seconds: float = 600.0
    """A rank that says nothing for so long counts as hung."""
    resume: bool = False
    """Captures that are done already are left as they are."""
    python: str = ""
    """The interpreter that runs it; this process's own where empty."""

    def write(self, path: Path) -> None:
        """Writes the job file."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads a job file, or says what is wrong with it."""
        try:
            raw = json.loads(Path(path).read_text())
            raw["captures"] = tuple(CaptureJob(**item) for item in raw["captures"])
            return cls(**raw)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MmparityError(f"{path} is not a job file: {error}") from error


@dataclass(frozen=True)
class Event:
    """One line of a worker's answer.

    ``seconds`` belongs to the step that the event ends; ``kind`` and ``message``
    only to an error, where ``input`` is something the user can mend.
    """

    event: EventName
    case: str | None = None
    dtype: str | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    kind: ErrorKind | None = None
    message: str | None = None
    at: float | None = None
    """When it was said, in seconds of the clock of the worker's machine."""
    elsewhere: str | None = None
    """Of what was captured on another machine: what there is not as here."""

    def to_line(self) -> str:
        """One line of JSON, without the line's end."""
        present = {
            key: value for key, value in asdict(self).items() if value is not None
        }
        return json.dumps(present)

    @classmethod
    def from_line(cls, line: str) -> Event | None:
        """The event, or None for a line that is none."""
        try:
            raw: Any = json.loads(line)
        except ValueError:
            return None
        if not isinstance(raw, dict) or "event" not in raw:
            return None
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})
