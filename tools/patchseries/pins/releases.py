# SPDX-License-Identifier: Apache-2.0
"""A release that is not pinned, into the cache: what a series is rebased onto."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from patchseries.files import whole_folder, write_whole
from patchseries.locks import locked
from patchseries.pins.fetch import commit_tree, differences, fetch, require_pristine
from patchseries.pins.sources import Archive, Source, read_sources
from patchseries.pins.unpack import unpack_sdist
from patchseries.project import Project, cache_folder


def release_tree(
    project: Project, name: str, version: str, say: Callable[[str], None]
) -> tuple[Path, str]:
    """The source tree of a release, downloaded when it is not there yet.

    Args:
        say: told of a download before it begins.

    Returns:
        The tree, and the pin to be added to sources.toml, empty when it has one.
    """
    pinned = read_sources(project.pins).get(f"{name}-{version}")
    if pinned:
        if not project.pristine(pinned.tree_name).exists():
            say(f"{pinned.tree_name}: downloading it")
            fetch(project, pinned, repair=False, say=say)
        return require_pristine(project, pinned), ""
    tree = cache_folder() / "releases" / f"{name}-{version}"
    tree.parent.mkdir(parents=True, exist_ok=True)
    with locked(tree.parent, patience_s=1800):
        archive = _kept(tree) or _make(name, version, tree, say)
    return tree, _pin(name, version, archive)


def _kept(tree: Path) -> Archive | None:
    """What the tree in the cache was made of; None unless it is still just that."""
    try:
        archive = Archive(**json.loads(_note(tree).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return None if differences(tree, archive) else archive


def _make(name: str, version: str, tree: Path, say: Callable[[str], None]) -> Archive:
    from patchseries.pins.download import (
        download,  # needs the HTTP stack, others do not
    )
    from patchseries.pins.index import find_sdist

    file, sha256 = find_sdist(name, version)
    source = Source(name, version, "sdist", "", ())
    say(f"{source.tree_name}: downloading it")
    path = download(source, Archive(file, sha256, ""))
    with whole_folder(tree) as partial:
        unpack_sdist(path, partial)
        found = commit_tree(partial, source.tree_name, sha256)
    note = {"file": file, "sha256": sha256, "tree": found}
    write_whole(_note(tree), json.dumps(note))
    return Archive(file, sha256, found)


def _note(tree: Path) -> Path:
    return tree.with_name(tree.name + ".json")


def _pin(name: str, version: str, archive: Archive) -> str:
    return (
        f'[[source]]\nname = "{name}"\nversion = "{version}"\nkind = "sdist"\n'
        'purpose = "What the rebased series is written for."\n'
        f'[[source.archive]]\nfile = "{archive.file}"\nsha256 = "{archive.sha256}"\n'
        f'tree = "{archive.tree}"\n'
    )
