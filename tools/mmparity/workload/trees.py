# SPDX-License-Identifier: Apache-2.0
"""Where the source trees of each implementation are. Looks, and reads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.errors import MmparityError
from mmparity.project import SOURCES, known, remedy

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation


@dataclass(frozen=True)
class MissingTree:
    """A source tree that an implementation needs and that is not where it belongs.

    Attributes:
        implementation: who needs it.
        source: what it has the source of: ``vllm`` or ``vllm-ascend``.
        folder: where it was looked for.
        tree: its name below the folder of sources, for example
            ``patched/vllm-0.33.0``.
        optional: whether it is fetched only by name.
    """

    implementation: str
    source: str
    folder: Path
    tree: str
    optional: bool


def find_trees(
    names: Iterable[str],
    overrides: Iterable[str],
    implementations: dict[str, Implementation],
) -> dict[str, dict[str, str]]:
    """The source trees of each implementation, ``--tree`` before the default.

    Raises:
        MmparityError: trees are missing; it names all, and one command for them.
    """
    found, missing = look_for_trees(names, overrides, implementations)
    if missing:
        first = missing[0]
        places = "; ".join(
            f"{tree.implementation} needs {tree.source}, and {tree.folder} has no "
            f"package {_package(tree.source)}"
            for tree in missing
        )
        raise MmparityError(
            f"{places}. Run `{command_for(missing)}`, or give "
            f"--tree {first.implementation}:{first.source}=DIR."
        )
    return found


def look_for_trees(
    names: Iterable[str],
    overrides: Iterable[str],
    implementations: dict[str, Implementation],
) -> tuple[dict[str, dict[str, str]], list[MissingTree]]:
    """The trees that are there, by implementation and source, and those missing."""
    given: dict[tuple[str, str], Path] = {}
    for text in overrides:
        key, folder = parse_tree(text, implementations)
        given[key] = folder
    found: dict[str, dict[str, str]] = {}
    missing = []
    for name in names:
        found[name] = {}
        optional = implementations[name].optional
        for source, tree in implementations[name].trees.items():
            folder = given.get((name, source), SOURCES / tree)
            if (folder / _package(source) / "__init__.py").is_file():
                found[name][source] = str(folder)
            else:
                missing.append(MissingTree(name, source, folder, tree, optional))
    return found, missing


def command_for(missing: Iterable[MissingTree]) -> str:
    """One command that makes trees; those that are optional come by name."""
    missing = list(missing)
    patched = any(tree.tree.startswith("patched/") for tree in missing)
    by_name = dict.fromkeys(
        tree.tree.removeprefix("patched/") for tree in missing if tree.optional
    )
    if not by_name:
        return remedy("make apply" if patched else "make sources")
    usual = any(not tree.optional for tree in missing)
    commands = [
        *(["patchseries fetch"] if usual else []),
        f"patchseries fetch {' '.join(by_name)}",
        *(["patchseries apply"] if patched else []),
    ]
    return " && ".join(commands)


def _package(source: str) -> str:
    return source.replace("-", "_")


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
