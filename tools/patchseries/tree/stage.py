# SPDX-License-Identifier: Apache-2.0
"""What a switch needs, made ready beside the tree: files, commits, folders."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from patchseries.files import write_whole
from patchseries.git import Git, Snapshot
from patchseries.tree.target import GitTarget, Target

BESIDE = ".patchseries-stage"


def stage_folder(target: Target) -> Path:
    """Where a switch is made ready; nothing in it is needed once that is done."""
    return target.private / "stage"


def staging_index(target: Target) -> Path:
    """An index of our own, gone when the switch is done."""
    return stage_folder(target) / "index"


def fresh_stage(target: Target) -> Path:
    """An empty stage."""
    drop_stage(target)
    folder = stage_folder(target)
    folder.mkdir(parents=True)
    return folder


def drop_stage(target: Target, keep: str = "") -> None:
    """Remove the stage and all that was kept for it.

    Args:
        keep: name of a file in it that stays, and the folder with it.
    """
    shutil.rmtree(target.root / BESIDE, ignore_errors=True)
    folder = stage_folder(target)
    for path in folder.iterdir() if keep else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != keep:
            path.unlink()
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def stage_files(
    target: Target, source: Git, goal: Snapshot, originals: Path | None = None
) -> tuple[Path, Snapshot]:
    """Write the files of `goal` where they can be renamed into the tree.

    Args:
        source: git with the blobs; its index is overwritten.
        originals: files kept from an earlier switch, used where they are what is
            wanted, so that their times come back too.

    Returns:
        The shelf, and the files' states there, which differ from `goal` where git
        converts line ends.
    """
    shelf = _shelf(target, list(goal))
    wanted = {path: state for path, state in goal.items() if state is not None}
    staged = Target(shelf, shelf)
    kept = Target(originals, shelf) if originals else None
    for path, state in list(wanted.items()):
        if kept and kept.file_state(path) == state:
            copy = shelf / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept.root / path, copy, follow_symlinks=False)
            del wanted[path]
    source("read-tree", "--empty")
    source.set_index(wanted)
    source(
        "checkout-index", "-z", "--stdin", f"--prefix={shelf}/",
        stdin=os.fsencode("".join(f"{path}\0" for path in wanted)),
    )  # fmt: skip
    if target.kind == "plain":
        for path in wanted:
            _keep_permissions(target.root / path, shelf / path)
    return shelf, {path: staged.file_state(path) for path in goal}


def stage_texts(target: Target, goal: Mapping[str, bytes | None]) -> Path:
    """Write contents to be renamed into the tree; None is for what is to go."""
    shelf = _shelf(target, list(goal))
    for path, content in goal.items():
        if content is not None:
            (shelf / path).parent.mkdir(parents=True, exist_ok=True)
            (shelf / path).write_bytes(content)
            _keep_permissions(target.root / path, shelf / path)
    return shelf


def _shelf(target: Target, paths: Sequence[str]) -> Path:
    """A folder on the tree's file system: by the repository, else within the tree.

    Whether files can be renamed from there is tried: two mounts of one file system
    look like one.
    """
    folder = stage_folder(target)
    shelf, probe = folder / "files", folder / "probe"
    shelf.mkdir()
    if target.kind == "plain":
        return shelf
    same = folder.stat().st_dev == target.root.stat().st_dev
    for path in paths:
        file = target.root / path
        if file.is_file() and not file.is_symlink():
            try:
                os.link(file, probe)
            except OSError as error:
                same = same and error.errno != errno.EXDEV
            else:
                probe.unlink()
                same = True
            break
    if same:
        return shelf
    beside = target.root / BESIDE
    beside.mkdir()
    write_whole(beside / ".gitignore", "*\n")
    (beside / "files").mkdir()
    return beside / "files"


def stage_commits(target: GitTarget, scratch: Git, base: str, tip: str) -> None:
    """Put commits into the target's object store, on no branch yet.

    The pack is finished before it gets there: git leaves what it could not finish.
    """
    pack = scratch.output(
        "pack-objects", "--revs", "--stdout", "-q", "--window=0",
        stdin=f"{tip}\n^{base}\n".encode(),
    )  # fmt: skip
    made = stage_folder(target) / "commits.pack"
    write_whole(made, pack)
    index = made.with_suffix(".idx")
    name = scratch("index-pack", "-o", str(index), str(made)).split()[-1]
    folder = target.objects[0] / "pack"
    folder.mkdir(exist_ok=True)
    for part in (made, index):
        part.chmod(0o444)
        goal = folder / f"pack-{name}{part.suffix}"
        try:
            part.replace(goal)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy = goal.with_name(f"tmp_{goal.name}")  # a name that `git gc` removes
            shutil.copy2(part, copy)
            copy.replace(goal)


def _keep_permissions(existing: Path, staged: Path) -> None:
    """A changed file keeps its permissions; what changes is only who may execute."""
    if existing.is_file():
        bits = existing.stat().st_mode & 0o777
        executable = staged.stat().st_mode & 0o100
        bits = bits | (bits & 0o444) >> 2 if executable else bits & ~0o111
        staged.chmod(bits)
