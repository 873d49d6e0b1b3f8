# SPDX-License-Identifier: Apache-2.0
"""The one way in which a target changes, and the one way back when that is cut off.

    staged   everything that is needed lies beside the tree        -> removed
    moving   files change places with those on the shelf           -> undone
    refs     all files are new; branch and HEAD move (git)         -> finished or undone
    done     nothing is left that could be refused                 -> finished
    undone   all is as it was                                      -> tidied up

On the right is what `recover` makes of a process that ended in that step. Files change
places and are compared with what was looked at before only then: a file that an editor
saved in between is seen, and put back.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from patchseries.errors import PatchseriesError, as_refusal
from patchseries.files import (
    drop_empty,
    flip,
    missing_folders,
    remove_if_empty,
    remove_own_folder,
    settle,
    write_whole,
)
from patchseries.tree.journal import (
    DONE,
    MOVING,
    REFS,
    UNDONE,
    Switch,
    begin_journal,
    current_step,
    enter_step,
    read_journal,
)
from patchseries.tree.refs import (
    break_stale_locks,
    hold_index,
    move_refs,
    place_index,
    prepare_index,
    release_index,
)
from patchseries.tree.stage import drop_stage, stage_folder
from patchseries.tree.target import GitTarget, Target, on_disk


def execute(target: Target, switch: Switch) -> None:
    """Carry out a staged switch, or leave the target as it was.

    Raises:
        PatchseriesError: it could not be done, and nothing was changed; or, with code
            `interrupted`, the next command will finish it.
    """
    folder = stage_folder(target)
    switch.made_folders = missing_folders(
        target.root, [p for p, state in switch.new.items() if state]
    )
    if switch.receipt is not None:
        made = dict.fromkeys([*switch.drop_folders, *switch.made_folders])
        switch.receipt["made_folders"] = list(made)
        write_whole(folder / "receipt.json", json.dumps(switch.receipt, indent=1))
    git = target if isinstance(target, GitTarget) else None
    if git:
        hold_index(git)
    begin_journal(folder, switch)
    try:
        for path in sorted(switch.new):
            flip(target.root / path, Path(switch.shelf) / path)
        _require_as_checked(target, switch)
        if git and switch.refs:
            prepare_index(git, switch.refs)
            enter_step(folder, REFS)
            move_refs(git, switch.refs)
        enter_step(folder, DONE)
    except BaseException as error:
        if current_step(folder) == DONE:  # Ctrl-C, a moment too late
            _finish(target, switch)
        else:
            _take_back(target, switch, error)
        raise (as_refusal(error) if isinstance(error, OSError) else error) from None
    try:
        _finish(target, switch)
    except (PatchseriesError, OSError) as error:
        raise _unfinished("it is done, but not tidied up", error) from error


def recover(target: Target) -> str:
    """Finish, undo or tidy up what a killed command left.

    Returns:
        What was done, empty when there was nothing to do.
    """
    folder = stage_folder(target)
    step = current_step(folder)
    if not step:
        tidy(target)
        return ""
    switch = read_journal(folder)
    if isinstance(target, GitTarget) and switch.refs and step in (MOVING, REFS):
        if target.head not in (switch.refs.old, switch.refs.new):
            return _leave(target, switch)
        if step == REFS:
            since = (folder / f"{REFS}.json").stat().st_ctime
            break_stale_locks(target, switch.refs, since)
            try:
                move_refs(target, switch.refs)
                step = enter_step(folder, DONE)
            except PatchseriesError:
                step = REFS  # something else has moved them: back, as far as that goes
    if step == DONE:
        _finish(target, switch)
        return "an interrupted change was finished"
    if step == UNDONE:
        _clear(target)
    else:
        _undo(target, switch)
    return "an interrupted change was undone"


def is_interrupted(target: Target) -> bool:
    """Whether a killed command left work for `recover`."""
    return bool(current_step(stage_folder(target)))


def tidy(target: Target) -> None:
    """Remove what a command left that ended before its switch began."""
    if not is_interrupted(target):
        drop_stage(target)
        for partial in target.private.glob(".*.partial"):
            partial.unlink()
        remove_if_empty(target.private)
        if isinstance(target, GitTarget):
            release_index(target)


def _take_back(target: Target, switch: Switch, error: BaseException) -> None:
    """Undo at once; what was saved over a new file in that moment stays."""
    try:
        _undo(target, switch, refuse=False)
    except (PatchseriesError, OSError) as second:
        raise _unfinished(f"{error}; it could not be undone yet", second) from error


def _undo(target: Target, switch: Switch, refuse: bool = True) -> None:
    """Take every file back, and what moved with them.

    Args:
        refuse: where a new file was edited since.
    """
    folder, shelf = stage_folder(target), Path(switch.shelf)
    for path in switch.new:
        settle(target.root / path, shelf / path)
    flipped = _flipped(target, switch, refuse)
    if isinstance(target, GitTarget) and switch.refs and current_step(folder) == REFS:
        move_refs(target, switch.refs.back(), undo=True)
        enter_step(folder, MOVING)
    for path in flipped:
        flip(target.root / path, shelf / path)
    for path in reversed(switch.made_folders):
        remove_own_folder(target.root / path)
    enter_step(folder, UNDONE)
    _clear(target)


def _flipped(target: Target, switch: Switch, refuse: bool) -> list[str]:
    """The paths whose new file is in place."""
    shelf = Target(Path(switch.shelf), target.root)
    paths = [p for p, new in switch.new.items() if shelf.file_state(p) != new]
    found = on_disk(target.root, paths)
    edited = [p for p in paths if found[p] not in (None, switch.new[p])]
    if edited and refuse:
        raise PatchseriesError(
            "interrupted",
            f"{target.root / edited[0]} was edited after an interrupted change",
            f"the file before is {shelf.root / edited[0]}; move your edit away, then"
            " run the command again",
        )
    return [path for path in paths if path not in edited]


def _leave(target: GitTarget, switch: Switch) -> str:
    """Somebody turned to another commit since: what is in the tree now is theirs."""
    shelf = Target(Path(switch.shelf), target.root)
    for path, found in shelf.snapshot(list(switch.new)).items():
        if found not in (None, switch.old.get(path), switch.new[path]):
            raise PatchseriesError(
                "interrupted",
                f"{target.root} is at another commit since a change was interrupted,"
                f" and {shelf.root / path} holds an edit of {path} from that moment",
                "move that file away, then run the command again; `git status` shows"
                " what else is edited",
            )
    enter_step(stage_folder(target), UNDONE)
    _clear(target)
    return "an interrupted change was left as it is: HEAD is at another commit since"


def _finish(target: Target, switch: Switch) -> None:
    """What follows once all is in place: nothing of it needs space on the disk."""
    folder, receipt = stage_folder(target), target.private / "receipt.json"
    if isinstance(target, GitTarget) and switch.refs:
        place_index(target, switch.refs)
        drop_empty(target.root, [p for p, s in switch.new.items() if s is None])
    for path in reversed(switch.drop_folders):
        remove_own_folder(target.root / path)
    if switch.receipt is None:
        receipt.unlink(missing_ok=True)
        shutil.rmtree(target.private / "originals", ignore_errors=True)
    else:
        if target.kind == "plain":
            _keep_originals(target, switch)
        if (folder / "receipt.json").exists():
            (folder / "receipt.json").replace(receipt)
    _clear(target)


def _clear(target: Target) -> None:
    """Remove the journal when all else is gone, so that nothing is forgotten."""
    folder = stage_folder(target)
    journal = f"{current_step(folder)}.json"
    drop_stage(target, keep=journal)
    if isinstance(target, GitTarget):
        release_index(target)
    (folder / journal).unlink()
    tidy(target)


def _require_as_checked(target: Target, switch: Switch) -> None:
    """What was moved aside must be what was looked at when the switch was planned."""
    found = on_disk(Path(switch.shelf), switch.new)
    saved = [path for path in switch.new if found[path] != switch.old.get(path)]
    if saved:
        raise PatchseriesError(
            "dirty-file",
            f"{target.root / saved[0]} was saved while the series' files were moved;"
            " what was saved is in its place, and nothing was changed",
            "commit, stash or revert that edit, then run the command again",
        )


def _unfinished(what: str, error: Exception) -> PatchseriesError:
    return PatchseriesError(
        "interrupted",
        f"{what}: {as_refusal(error).args[0]}",
        "mend that, then run the command again: it finishes or undoes the change first",
    )


def _keep_originals(target: Target, switch: Switch) -> None:
    """Keep the files from before the series; an update of a series keeps the first."""
    folder, shelf = target.private / "originals", Path(switch.shelf)
    if shelf.exists() and not folder.exists():
        shelf.rename(folder)
    kept = Target(folder, folder)
    for path, state in (switch.receipt or {})["before"].items():
        if state and kept.file_state(path) != tuple(state) and (shelf / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (shelf / path).replace(folder / path)
