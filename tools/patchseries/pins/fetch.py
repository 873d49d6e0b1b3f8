# SPDX-License-Identifier: Apache-2.0
"""Pins into pristine trees: each a git repository with one reproducible commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.files import whole_folder
from patchseries.git import Git
from patchseries.locks import locked
from patchseries.pins.sources import Archive, Source
from patchseries.pins.unpack import unpack_sdist, unpack_wheel
from patchseries.project import Project
from patchseries.series.series import AUTHOR, DATE

Say = Callable[[str], None]


def fetch(project: Project, source: Source, repair: bool, say: Say) -> None:
    """Make `source`'s tree, or prove that the one there is unchanged."""
    archive = source.archive()
    tree = project.pristine(source.tree_name)
    project.trees.mkdir(exist_ok=True)
    with locked(project.trees, patience_s=1800):
        if tree.exists() or tree.is_symlink():
            changes = differences(tree, archive)
            if not changes:
                say(f"{source.tree_name}: unchanged")
                return
            if not repair:
                shown = "".join(f"\n     {c}" for c in changes[:8])
                more = len(changes) - 8
                shown += f"\n     and {more} more" if more > 0 else ""
                raise PatchseriesError(
                    "tree-changed",
                    f"{tree} is not as it was fetched:{shown}",
                    f"`patchseries fetch --repair {source.tree_name}` makes it anew; "
                    "what was changed there is lost",
                )
        _make(source, archive, tree)
        say(f"{source.tree_name}: fetched and verified")


def differences(tree: Path, archive: Archive) -> list[str]:
    """How a tree differs from its pin, empty when it does not."""
    if not (tree / ".git").is_dir() or tree.is_symlink():
        return ["is not a tree made by fetch"]
    git = Git(tree)
    found = git.maybe("rev-parse", "--verify", "-q", "HEAD^{tree}")
    if found != archive.tree:
        return [f"its commit holds tree {found}, pinned is {archive.tree}"]
    status = git.records(
        "status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching"
    )
    # Python writes its byte code beside the sources that it imports.
    return [line for line in status if "__pycache__/" not in line]


def require_pristine(project: Project, source: Source) -> Path:
    """The tree of `source`, which must be there and unchanged."""
    tree = project.pristine(source.tree_name)
    if not tree.exists():
        raise PatchseriesError(
            "not-fetched",
            f"{tree} does not exist",
            f"patchseries fetch {source.tree_name}",
        )
    changes = differences(tree, source.archive())
    if changes:
        raise PatchseriesError(
            "tree-changed",
            f"{tree} is not as it was fetched: {changes[0]}",
            f"patchseries fetch --repair {source.tree_name}",
        )
    return tree


def _make(source: Source, archive: Archive, tree: Path) -> None:
    from patchseries.pins.download import (
        download,  # needs the HTTP stack, others do not
    )

    file = download(source, archive)
    with whole_folder(tree) as partial:
        if source.kind == "sdist":
            unpack_sdist(file, partial)
        else:
            unpack_wheel(file, partial, source.members)
        found = commit_tree(partial, source.tree_name, archive.sha256)
        if found != archive.tree:
            raise PatchseriesError(
                "wrong-tree",
                f"{archive.file} unpacks to tree {found}, pinned is {archive.tree}",
                "if the pin was just written, this is the value for it",
            )


def commit_tree(folder: Path, title: str, sha256: str) -> str:
    """One commit of everything in `folder`, the same on every machine.

    Returns:
        The id of its tree.
    """
    init_repository(folder, "pristine")
    git = Git(folder)
    git("add", "--all", "--force")
    for path in _executables(folder):  # also where the file system has no such bit
        git("update-index", "--chmod=+x", "--", path)
    tree = git("write-tree")
    message = f"{title}, as released\n\nsha256 of the archive: {sha256}\n"
    commit = git.commit(tree, None, message, AUTHOR, DATE)
    git("update-ref", "refs/heads/pristine", commit)
    git("update-index", "-q", "--refresh")
    return tree


def init_repository(folder: Path, branch: str) -> None:
    """An empty repository that keeps every byte as it is."""
    git = Git(folder)
    git("init", "-q", "--template=", f"--initial-branch={branch}")
    git("config", "core.autocrlf", "false")
    git("config", "gc.auto", "0")
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* -text -ident !filter !working-tree-encoding\n")


def _executables(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink() and path.stat().st_mode & 0o100:
                found.append(str(path.relative_to(folder)))
    return found
