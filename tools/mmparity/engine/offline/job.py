# SPDX-License-Identifier: Apache-2.0
"""What the parent asks one side's process to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import write_text


@dataclass(frozen=True)
class EngineJob:
    """One side, all of its models.

    Attributes:
        out: folder that outcomes go to.
        checkpoints: model -> its folder.
        scenarios: names; empty for all.
        growth: number of requests over which memory is measured, instead.
        images: distinct images whose embeddings are cached before that.
    """

    side: str
    out: str
    checkpoints: dict[str, str]
    scenarios: tuple[str, ...] = ()
    growth: int = 0
    images: int = 0

    def write(self, file: Path) -> None:
        """Writes the job file."""
        write_text(file, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> EngineJob:
        """Reads it, or says what is wrong with it."""
        try:
            raw = json.loads(file.read_text())
            return cls(**{**raw, "scenarios": tuple(raw["scenarios"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MmparityError(f"{file} is not an engine job: {error}") from error
