# SPDX-License-Identifier: Apache-2.0
"""The one way in which a target changes: staged, journalled, renamed into place.

Every new file is complete on disk before the first one is put in place, and every old
one is kept until the last. Whenever the process ends, each path holds either its old
or its new bytes, and `recover` takes the whole to one side.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from patchseries.classify import Snapshot
from patchseries.errors import PatchseriesError
from patchseries.git import Git, State
from patchseries.refs import (
    RefMove,
    finish_git,
    hold_index,
    release_index,
    undo_git,
)
from patchseries.target import GitTarget, Target


@dataclass
class Switch:
    """One planned change of a target.

    Attributes:
        old: bytes on disk before, per path.
        new: bytes on disk after.
        receipt: to be kept once done; None removes the one that is there.
        refs: what happens to branches, in a git target.
        drop_folders: to be removed when they end up empty.
        made_folders: those that the new files need.
    """

    old: Snapshot
    new: Snapshot
    receipt: dict[str, Any] | None
    refs: RefMove | None = None
    drop_folders: list[str] = field(default_factory=list)
    made_folders: list[str] = field(default_factory=list)


def staging_index(target: Target) -> Path:
    """An index of our own, gone when the switch is done."""
    return target.private / "stage" / "index"


def stage(
    target: Target, source: Git, goal: Snapshot, originals: Path | None = None
) -> Snapshot:
    """Write the files of `goal` beside the tree.

    Args:
        source: git with the blobs; its index is overwritten.
        originals: files kept from an earlier switch, used where they are what is
            wanted, so that their times come back too.

    Returns:
        Their states on disk, which differ from `goal` where git converts line ends.
    """
    folder = target.private / "stage"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "new").mkdir(parents=True)
    wanted = {path: state for path, state in goal.items() if state is not None}
    staged = Target(folder / "new", folder)
    kept = Target(originals, folder) if originals else None
    for path, state in list(wanted.items()):
        if kept and kept.file_state(path) == state:
            copy = folder / "new" / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept.root / path, copy)
            del wanted[path]
    source("read-tree", "--empty")
    source.set_index(wanted)
    source(
        "checkout-index", "-z", "--stdin", f"--prefix={folder / 'new'}/",
        stdin=os.fsencode("".join(f"{path}\0" for path in wanted)),
    )  # fmt: skip
    if target.kind == "plain":
        for path in wanted:
            _keep_permissions(target.root / path, folder / "new" / path)
    return {path: staged.file_state(path) for path in goal}


def execute(target: Target, switch: Switch) -> None:
    """Carry out a staged switch, or leave the target as it was."""
    folder = target.private / "stage"
    switch.made_folders = _missing_folders(target.root, switch.new)
    if switch.receipt is not None:
        switch.receipt["made_folders"] = switch.made_folders
    held = isinstance(target, GitTarget) and hold_index(target)
    try:
        _write_json(folder / "journal.json", asdict(switch))
        for path in sorted(switch.new):
            _move(target.root, folder, path, switch.old.get(path), switch.new[path])
        _finish(target, switch)
    except BaseException as error:
        if (folder / "journal.json").exists() or held:
            recover(target, prefer_old=True)
        if isinstance(error, OSError):
            code = "disk-full" if error.errno == errno.ENOSPC else "cannot-write"
            raise PatchseriesError(
                code, f"{error.filename or target.root}: {error.strerror}",
                "nothing was changed",
            ) from None  # fmt: skip
        raise


def recover(target: Target, prefer_old: bool = False) -> str:
    """Finish or undo a switch that was cut off.

    Returns:
        What was done, empty when there was nothing to do.
    """
    folder = target.private / "stage"
    journal = folder / "journal.json"
    if not journal.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _remove_if_empty(target.private)
        if isinstance(target, GitTarget):
            release_index(target)
        return ""
    switch = _read_switch(journal)
    on_disk = target_states(target.root, switch.new)
    if on_disk == switch.new and not prefer_old:
        if isinstance(target, GitTarget):
            hold_index(target)
        _finish(target, switch)
        return "an interrupted change was finished"
    _undo(target, folder, switch)
    return "an interrupted change was undone"


def is_interrupted(target: Target) -> bool:
    """Whether a killed command left work for `recover`."""
    return (target.private / "stage" / "journal.json").exists()


def target_states(root: Path, paths: Sequence[str] | Snapshot) -> Snapshot:
    """Bytes on disk, whatever git thinks of them."""
    disk = Target(root, root)
    return {path: disk.file_state(path) for path in paths}


def _move(root: Path, folder: Path, path: str, old: State, new: State) -> None:
    place, kept = root / path, folder / "old" / path
    if old is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _link(place, kept)
    if new is None:
        place.unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "new" / path).replace(place)


def _link(existing: Path, new: Path) -> None:
    try:
        os.link(existing, new)
    except OSError:  # a file system without hard links
        shutil.copy2(existing, new.with_name(new.name + "~"))
        new.with_name(new.name + "~").rename(new)


def _finish(target: Target, switch: Switch) -> None:
    folder = target.private / "stage"
    if isinstance(target, GitTarget):
        assert switch.refs is not None
        finish_git(target, switch.refs)
        _drop_empty(target.root, [p for p, s in switch.new.items() if s is None])
    for path in reversed(switch.drop_folders):
        _remove_own_folder(target.root / path)
    receipt, originals = target.private / "receipt.json", target.private / "originals"
    if switch.receipt is None:
        receipt.unlink(missing_ok=True)
    else:
        if target.kind == "plain":
            _keep_originals(folder / "old", originals, switch.receipt["before"])
        _write_json(receipt, switch.receipt)
    _clean_up(target)


def _undo(target: Target, folder: Path, switch: Switch) -> None:
    for path in switch.new:
        _require_ours(target.root, folder, path, switch)
    for path, old in switch.old.items():
        place, kept = target.root / path, folder / "old" / path
        if old is None:
            place.unlink(missing_ok=True)
        elif kept.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and kept.samefile(place):
                kept.unlink()
            else:
                kept.replace(place)
    for path in reversed(switch.made_folders):
        _remove_own_folder(target.root / path)
    if isinstance(target, GitTarget) and switch.refs:
        undo_git(target, switch.refs)
    _clean_up(target)


def _clean_up(target: Target) -> None:
    folder = target.private / "stage"
    (folder / "journal.json").unlink()
    if isinstance(target, GitTarget):
        release_index(target)
    shutil.rmtree(folder)
    if not (target.private / "receipt.json").exists():
        shutil.rmtree(target.private / "originals", ignore_errors=True)
    _remove_if_empty(target.private)


def _require_ours(root: Path, folder: Path, path: str, switch: Switch) -> None:
    found = target_states(root, [path])[path]
    known = [switch.old.get(path), switch.new[path]]
    if found not in known and found is not None:
        raise PatchseriesError(
            "interrupted",
            f"{root / path} was edited after an interrupted change",
            f"the file before is {folder / 'old' / path}; move your edit away, put "
            "that one back, then run the command again",
        )


def _keep_originals(old: Path, originals: Path, before: Snapshot) -> None:
    """Keep the files from before the series; an update of a series keeps the first."""
    kept = Target(originals, originals)
    for path, state in before.items():
        if state is None or kept.file_state(path) == tuple(state):
            continue
        if (old / path).exists():
            (originals / path).parent.mkdir(parents=True, exist_ok=True)
            (originals / path).unlink(missing_ok=True)
            _link(old / path, originals / path)


def _keep_permissions(existing: Path, staged: Path) -> None:
    """A changed file keeps its permissions; what changes is only who may execute."""
    if existing.is_file():
        bits = existing.stat().st_mode & 0o777
        executable = staged.stat().st_mode & 0o100
        bits = bits | (bits & 0o444) >> 2 if executable else bits & ~0o111
        staged.chmod(bits)


def _missing_folders(root: Path, new: Snapshot) -> list[str]:
    missing: dict[str, None] = {}
    for path in (p for p, state in new.items() if state is not None):
        for parent in reversed(list(Path(path).parents)[:-1]):
            if not (root / parent).exists():
                missing[str(parent)] = None
    return list(missing)


def _remove_own_folder(path: Path) -> None:
    """Remove a folder that we made, with the byte code that Python put there."""
    cache = path / "__pycache__"
    if path.is_dir() and [p.name for p in path.iterdir()] == ["__pycache__"]:
        shutil.rmtree(cache, ignore_errors=True)
    _remove_if_empty(path)


def _drop_empty(root: Path, deleted: Sequence[str]) -> None:
    for path in deleted:
        for parent in list(Path(path).parents)[:-1]:
            _remove_own_folder(root / parent)


def _remove_if_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def _write_json(path: Path, data: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _read_switch(journal: Path) -> Switch:
    data = json.loads(journal.read_text())
    for key in ("old", "new"):
        data[key] = {p: tuple(s) if s else None for p, s in data[key].items()}
    data["refs"] = data["refs"] and RefMove(**data["refs"])
    return Switch(**data)
