# SPDX-License-Identifier: Apache-2.0
"""Memory figures of one side, and whether its resident memory is flat."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.types.engine import EngineFigures, EnginePoint

WARM_UP = 0.1
"""Share of the requests after which growth counts."""
ALLOWED_GROWTH = 0.02


def growth(figures: EngineFigures) -> float | None:
    """Most resident memory after the warm-up over that at its end, less one."""
    if not figures.points:
        return None
    warm = figures.points[-1].requests * WARM_UP
    after = [p.resident_bytes for p in figures.points if p.requests >= warm]
    return max(after) / after[0] - 1 if len(after) > 1 else None


def write(figures: EngineFigures, folder: Path) -> None:
    """Writes them beside the side's outcomes."""
    file = _file(folder, figures.side, figures.model)
    write_text(file, json.dumps(asdict(figures)) + "\n")


def read(folder: Path, side: str, model: str) -> EngineFigures | None:
    """The figures, or None where the side did not come so far."""
    file = _file(folder, side, model)
    if not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text())
        raw["points"] = tuple(EnginePoint(**item) for item in raw["points"])
        return EngineFigures(**raw)
    except (ValueError, KeyError, TypeError) as error:
        raise MmparityError(f"{file} holds no memory figures: {error}") from error


def _file(folder: Path, side: str, model: str) -> Path:
    return folder / side / f"memory-{model}.json"
