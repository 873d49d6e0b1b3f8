# SPDX-License-Identifier: Apache-2.0
"""The journal of a switch: its plan, in a file whose name says how far it is.

So a step costs no space on the disk, and is taken whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from patchseries.files import write_whole
from patchseries.git import Snapshot
from patchseries.tree.refs import RefMove

MOVING, REFS, DONE, UNDONE = STEPS = ("moving", "refs", "done", "undone")


@dataclass
class Switch:
    """One planned change of a target.

    Attributes:
        shelf: folder with the new files, and with the old ones once they have moved.
        old: bytes on disk before, per path, as they were when they were looked at.
        new: bytes on disk after.
        receipt: to be kept once done; None removes the one that is there.
        refs: what happens to branches, in a git target.
        drop_folders: to be removed when they end up empty.
        made_folders: those that the new files need.
    """

    shelf: str
    old: Snapshot
    new: Snapshot
    receipt: dict[str, Any] | None = None
    refs: RefMove | None = None
    drop_folders: list[str] = field(default_factory=list)
    made_folders: list[str] = field(default_factory=list)


def begin_journal(folder: Path, switch: Switch) -> None:
    """Write the plan, at the first step."""
    write_whole(folder / f"{MOVING}.json", json.dumps(asdict(switch), indent=1))


def current_step(folder: Path) -> str:
    """How far it is, empty where nothing is under way."""
    return next((step for step in STEPS if (folder / f"{step}.json").exists()), "")


def enter_step(folder: Path, step: str) -> str:
    """Go on, or back, to a step."""
    (folder / f"{current_step(folder)}.json").replace(folder / f"{step}.json")
    return step


def read_journal(folder: Path) -> Switch:
    """The plan of what is under way."""
    data = json.loads((folder / f"{current_step(folder)}.json").read_text())
    for key in ("old", "new"):
        data[key] = {p: tuple(s) if s else None for p, s in data[key].items()}
    data["refs"] = data["refs"] and RefMove(**data["refs"])
    return Switch(**data)
