# SPDX-License-Identifier: Apache-2.0
"""The catalogue: edits of the patched trees, and where each must be found.

Data from the TOML files beside this one; every edit is checked against the trees
before anything runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mmparity.errors import MmparityError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parent
Kind = Literal["bug", "rewrite", "several"]
SETS: dict[str, tuple[tuple[Kind, str], ...]] = {
    "catalogue": (
        ("bug", "bugs.toml"),
        ("bug", "families.toml"),
        ("bug", "towers.toml"),
        ("rewrite", "rewrites.toml"),
    ),
    "history": (("bug", "history.toml"),),
}
"""What is run together -> its files, and what each of them holds."""
COMMON = ("on", "workload", "dtype")
"""What all mutants of a file may have alike."""


@dataclass(frozen=True)
class Mutant:
    """One small edit of one file.

    Attributes:
        name: unique in the catalogue.
        kind: a bug must be found; a rewrite must not be.
        on: the implementation that runs with the edit.
        file: the source (``vllm`` or ``vllm-ascend``), then the path in its tree.
        old: text that is in the file exactly once.
        new: what stands there instead.
        at: hook points or operators, any of which is the right place of a bug.
        case: the case that must show it first, where not any may.
        dtype: what the encoder runs in.
        workload: which encoder, and on how many ranks; see ``workload``.
        equivalent: why the edit changes no bit of these runs.
        quick: also run by the tests.
        parts: bugs planted together; ``file``, ``old`` and ``new`` are the first one's.
        twin_of: the mutant that is the same on normal weights.
        of: the set that it is run with.
        reference: where users reported it in public.
        was: what was wrong there.
    """

    name: str
    kind: Kind
    on: str
    file: str
    old: str
    new: str
    at: tuple[str, ...] = ()
    case: str | None = None
    dtype: str = "float32"
    workload: str = "float"
    equivalent: str = ""
    quick: bool = False
    parts: tuple[Mutant, ...] = ()
    twin_of: str = ""
    of: str = "catalogue"
    reference: tuple[str, ...] = ()
    was: str = ""

    @property
    def edits(self) -> tuple[Mutant, ...]:
        """What is edited: itself, or its parts."""
        return self.parts or (self,)

    @property
    def source(self) -> str:
        """The source tree that is edited."""
        return self.file.split("/", 1)[0]

    @property
    def module(self) -> str:
        """The module that is edited."""
        return self.file.split("/", 1)[1].removesuffix(".py").replace("/", ".")

    def path(self, trees: dict[str, str]) -> Path:
        """The file in the trees of the implementation."""
        return Path(trees[self.source]) / self.file.split("/", 1)[1]

    def edited(self, trees: dict[str, str]) -> tuple[str, str]:
        """The file's text before and after."""
        path = self.path(trees)
        before = path.read_text()
        count = before.count(self.old)
        if count != 1:
            raise MmparityError(
                f"mutant {self.name!r}: its text is {count} times in {path}; exactly "
                f"once is needed. Mend it in {FOLDER}."
            )
        return before, before.replace(self.old, self.new)


def read_toml(file: Path) -> dict[str, Any]:
    """What a file of the catalogue holds."""
    return tomllib.loads(file.read_text())


def edited_files(
    edits: Iterable[Mutant], trees: dict[str, str]
) -> list[tuple[Path, str, str]]:
    """Each file once, before and after all edits of it: two may be in one function."""
    files: dict[Path, tuple[str, str]] = {}
    for edit in edits:
        path = edit.path(trees)
        before, _ = edit.edited(trees)
        after = files.get(path, (before, before))[1]
        if after.count(edit.old) != 1:
            raise MmparityError(
                f"mutant {edit.name!r} does not go with those before it"
            )
        files[path] = before, after.replace(edit.old, edit.new)
    return [(path, *texts) for path, texts in files.items()]


def read_catalogue(folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """Every mutant of every set, bugs first."""
    mutants: list[Mutant] = []
    for of, files in SETS.items():
        for kind, name in files:
            mutants += _read(of, kind, folder / name)
    mutants += list(_on_trained(mutants))
    mutants += _several(mutants, folder / "several.toml")
    names = [mutant.name for mutant in mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MmparityError(f"{folder}: mutants of one name: {', '.join(twice)}")
    return tuple(mutants)


def _on_trained(mutants: Iterable[Mutant]) -> Iterator[Mutant]:
    """The same edits on weights with trained spectra, where the workload has such."""
    from harness_checks.mutants.workload import WORKLOADS

    for mutant in mutants:
        twin = WORKLOADS[mutant.workload].twin
        if twin in WORKLOADS:
            name = f"{mutant.name}-on-trained"
            changed = replace(mutant, name=name, workload=twin, twin_of=mutant.name)
            yield replace(changed, quick=False)


def _read(of: str, kind: Kind, file: Path) -> Iterator[Mutant]:
    """The mutants of one file; none where there is no such file."""
    if not file.exists():
        return
    for part in read_toml(file)["file"]:
        common = {"of": of, "file": part["path"]}
        common |= {key: part[key] for key in COMMON if key in part}
        for entry in part["mutant"]:
            yield _mutant(kind, {**common, **entry}, file)


def _several(mutants: list[Mutant], file: Path) -> list[Mutant]:
    """Sets of bugs; none where there is no file of them."""
    if not file.exists():
        return []
    by_name = {mutant.name: mutant for mutant in mutants if mutant.kind == "bug"}
    found = []
    for entry in read_toml(file)["several"]:
        unknown = sorted(set(entry["parts"]) - set(by_name))
        if unknown:
            raise MmparityError(f"{file}: {entry['name']}: no bug {unknown[0]!r}")
        parts = tuple(by_name[name] for name in entry["parts"])
        if len({(part.on, part.workload, part.dtype) for part in parts}) > 1:
            raise MmparityError(
                f"{file}: {entry['name']}: its bugs do not run together"
            )
        at = tuple(sorted(entry["at"]))
        found.append(
            replace(parts[0], name=entry["name"], kind="several", at=at, parts=parts)
        )
    return [replace(mutant, quick=False, case=None) for mutant in found]


def _mutant(kind: Kind, entry: dict[str, Any], file: Path) -> Mutant:
    at = entry.pop("at", ())
    entry["at"] = (at,) if isinstance(at, str) else tuple(at)
    entry["reference"] = tuple(entry.get("reference", ()))
    try:
        mutant = Mutant(kind=kind, **entry)
    except TypeError as error:
        raise MmparityError(f"{file}: {entry.get('name')}: {error}") from error
    if kind == "bug" and not (mutant.at or mutant.equivalent):
        raise MmparityError(f"{file}: {mutant.name}: `at` is missing")
    if mutant.of == "history" and not (mutant.reference and mutant.was):
        raise MmparityError(
            f"{file}: {mutant.name}: `reference` and `was` are needed: where it was "
            "reported in public, and what was wrong"
        )
    from harness_checks.mutants.workload import get as get_workload  # it needs torch

    get_workload(mutant.workload)
    if mutant.old == mutant.new:
        raise MmparityError(f"{file}: {mutant.name}: it changes nothing")
    return mutant
