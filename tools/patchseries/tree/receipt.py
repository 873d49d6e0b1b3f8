# SPDX-License-Identifier: Apache-2.0
"""What was applied, kept in the target's private folder and believed only when it fits.

A receipt tells how to go back. It never proves that anything is applied: content does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from patchseries.files import write_whole
from patchseries.git import Snapshot
from patchseries.tree.target import GitTarget, Target

SCHEMA = 1


@dataclass
class Receipt:
    """The way back from one applied series.

    Attributes:
        digest: of the series as it was applied.
        base: commit before, in a git target.
        tip: commit after.
        came_from: branch that HEAD named before, None when it was detached.
        made_folders: made for added files, deepest last.
        contents: each patch file that the tree came from, or was last written to.
        signer: who signed the commits off, empty when nobody did.
    """

    series: str
    digest: str
    patches: list[str]
    before: Snapshot
    after: Snapshot
    base: str = ""
    tip: str = ""
    branch: str = ""
    came_from: str | None = None
    made_folders: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    signer: str = ""
    schema: int = SCHEMA

    def fits(self, target: Target) -> bool:
        """Whether the target is in the state that this receipt describes."""
        if isinstance(target, GitTarget):
            return target.head == self.tip
        return target.snapshot(list(self.after)) == self.after

    def partly(self, target: Target) -> Receipt | None:
        """The receipt of what is there, where a part is as before the series again.

        So it is when the same release was installed over a patched one: its files are
        back, and those that the series added are still there.
        """
        if isinstance(target, GitTarget):
            return None  # content alone does not say on which commit it is
        now = target.snapshot(list(self.after))
        known = all(now[p] in (self.before.get(p), s) for p, s in self.after.items())
        return replace(self, after=now) if known else None

    def edited(self, target: Target) -> list[str]:
        """The paths that hold neither what was before nor what came after."""
        now = target.snapshot(list(self.after))
        known = {p: (self.before.get(p), s) for p, s in self.after.items()}
        return [path for path, states in known.items() if now[path] not in states]

    def remains(self, target: Target) -> list[str]:
        """The paths that still hold what the series made of them."""
        now = target.snapshot(list(self.after))
        changed = {p: s for p, s in self.after.items() if s != self.before.get(p)}
        return [path for path, state in changed.items() if state and now[path] == state]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Receipt:
        """The inverse of `as_json`."""
        for key in ("before", "after"):
            data[key] = {p: tuple(s) if s else None for p, s in data[key].items()}
        return cls(**data)


def read_receipt(target: Target) -> Receipt | None:
    """The target's receipt, whether or not it still fits; None when unreadable."""
    try:
        data = json.loads(receipt_path(target).read_text())
        return Receipt.from_json(data) if data.get("schema") == SCHEMA else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_receipt(target: Target, receipt: Receipt) -> None:
    """Keeps a receipt again, with more in it."""
    write_whole(receipt_path(target), json.dumps(receipt.as_json(), indent=1))


def receipt_path(target: Target) -> Path:
    """Where it lies."""
    return target.private / "receipt.json"
