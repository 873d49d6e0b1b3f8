# SPDX-License-Identifier: Apache-2.0
"""Where the source trees of each implementation are. Looks, and reads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.errors import MmparityError
from mmparity.project import SOURCES, known, remedy

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation


def find_trees(
    names: Iterable[str],
    overrides: Iterable[str],
    implementations: dict[str, Implementation],
) -> dict[str, dict[str, str]]:
    """The source trees of each implementation, ``--tree`` before the default."""
    given: dict[tuple[str, str], Path] = {}
    for text in overrides:
        key, folder = parse_tree(text, implementations)
        given[key] = folder
    found: dict[str, dict[str, str]] = {}
    for name in names:
        found[name] = {}
        for source, default in implementations[name].trees.items():
            folder = given.get((name, source), SOURCES / default)
            package = source.replace("-", "_")
            if not (folder / package / "__init__.py").is_file():
                make = _command_for(default, implementations[name].optional)
                raise MmparityError(
                    f"{name} needs {source}, and {folder} has no package {package}. "
                    f"Run `{make}`, or give --tree {name}:{source}=DIR."
                )
            found[name][source] = str(folder)
    return found


def _command_for(tree: str, optional: bool) -> str:
    """What makes a tree; those that are optional come by name."""
    pristine = tree.removeprefix("patched/")
    if not optional:
        return remedy("make sources" if tree == pristine else "make apply")
    fetch = f"patchseries fetch {pristine}"
    return fetch if tree == pristine else f"{fetch} && patchseries apply"


def parse_tree(
    text: str, implementations: dict[str, Implementation]
) -> tuple[tuple[str, str], Path]:
    """Implementation and source of a ``--tree``, and its folder."""
    target, equals, folder = text.partition("=")
    name, colon, source = target.partition(":")
    if not (equals and colon and folder):
        raise MmparityError(
            f"--tree {text!r} is not IMPL:SOURCE=DIR, for example "
            "unified:vllm=../vllm-fork"
        )
    trees = known("implementation", name, implementations).trees
    if source not in trees:
        raise MmparityError(
            f"--tree {text!r}: {name} has no source {source!r}. "
            f"Allowed: {', '.join(trees) or 'none'}"
        )
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise MmparityError(f"--tree {text!r}: {path} is not a folder.")
    return (name, source), path


def check_trees_used(
    options: Iterable[str],
    names: Iterable[str],
    implementations: dict[str, Implementation],
) -> None:
    """Refuses a ``--tree`` that nothing would run, and one of two for one place."""
    given = ((text, parse_tree(text, implementations)[0]) for text in options)
    check_used("--tree", given, names)


def check_used(
    option: str, given: Iterable[tuple[str, tuple[str, ...]]], names: Iterable[str]
) -> None:
    """Refuses a value whose implementation takes no part, and two for one place.

    Args:
        option: the option, for the message.
        given: each value as it was typed, and its place: the implementation comes
            first.
        names: implementations that take part.
    """
    names, seen = set(names), set()
    for text, place in given:
        if place[0] not in names:
            raise MmparityError(
                f"{option} {text!r}: {place[0]} takes no part. These do: "
                f"{', '.join(sorted(names))}"
            )
        if place in seen:
            raise MmparityError(f"{option} {':'.join(place)} is given twice: give one.")
        seen.add(place)
