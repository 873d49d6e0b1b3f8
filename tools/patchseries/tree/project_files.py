# SPDX-License-Identifier: Apache-2.0
"""The project's own files that a command writes: all of them, or none.

They change by the same switch as a target's, so that a `refresh` that is killed leaves
the old series or the new one, and the next command takes care of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.git import Snapshot, blob_id
from patchseries.locks import LOCK_NAME, locked
from patchseries.project import Project
from patchseries.tree.journal import Switch
from patchseries.tree.stage import fresh_stage, stage_texts
from patchseries.tree.switch import execute, is_interrupted, recover, tidy
from patchseries.tree.target import Target, on_disk


@dataclass(frozen=True)
class ProjectFiles:
    """The project's files, held against other commands that write them.

    Attributes:
        seen: their states when they were held: what is edited since is not replaced.
    """

    target: Target
    seen: Snapshot

    def write(self, goal: Mapping[str, bytes | None]) -> list[str]:
        """Bring files to these contents, None for one that shall not be there.

        Args:
            goal: by path from the project's root.

        Returns:
            The paths that changed.
        """
        new: Snapshot = {}
        for path, content in goal.items():
            mode = (self.seen.get(path) or ("100644", ""))[0]
            state = None if content is None else (mode, blob_id(content))
            if state != self.seen.get(path):
                new[path] = state
        if new:
            fresh_stage(self.target)
            shelf = stage_texts(self.target, {path: goal[path] for path in new})
            old = {path: self.seen.get(path) for path in new}
            execute(self.target, Switch(str(shelf), old, new))
        return list(new)


@contextmanager
def held_files(project: Project) -> Iterator[ProjectFiles]:
    """Hold the files that commands write, whole."""
    project.patches.mkdir(exist_ok=True)
    target = _target(project)
    with locked(project.patches):
        recover(target)
        files = [*project.patches.glob("*/*"), project.root / "README.md"]
        paths = [str(path.relative_to(project.root)) for path in files]
        try:
            yield ProjectFiles(target, on_disk(project.root, paths))
        finally:
            tidy(target)


def settle_files(project: Project) -> None:
    """Finish, undo or tidy up what a killed command did to the project's own files."""
    target = _target(project)
    if is_interrupted(target):
        with locked(project.patches):
            recover(target)
    elif (project.patches / LOCK_NAME).exists() or target.private.exists():
        with suppress(PatchseriesError), locked(project.patches, patience_s=0):
            tidy(target)


def _target(project: Project) -> Target:
    return Target(project.root, project.patches / ".patchseries")
