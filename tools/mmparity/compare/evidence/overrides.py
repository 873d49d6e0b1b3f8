# SPDX-License-Identifier: Apache-2.0
"""What vllm-ascend overrides of vLLM's encoders, and where its work is done now.

The overrides are found by parsing the releases; ``patches/overrides.toml`` says
of each why, by which patch, and which parity rows and tests show it: those that the
suite runs. Nothing is imported from a release.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.project import PATCHES, SOURCES
from mmparity.trace import hook_points
from mmparity.workload import models
from mmparity.workload.cases import CASES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RELEASES = ("vllm-ascend-0.11.0", "vllm-ascend-0.12.0rc1")
PLACES = ("models/*.py", "patch/worker/*.py")
DATA = PATCHES / "overrides.toml"
PAGE = PATCHES / "README.md"
UPSTREAM = "upstream"
_ENCODERS = re.compile(r"^vllm\.model_executor\.models\.\w*(vl|omni|vision|vit)")


@dataclass(frozen=True, order=True)
class Override:
    """One method or attribute that replaces or extends vLLM's."""

    file: str
    """Release and path inside the package."""
    owner: str
    name: str


@dataclass(frozen=True)
class OverrideReason:
    """One reason for overrides."""

    title: str
    patches: tuple[str, ...]
    cases: tuple[str, ...]
    """MODEL OLD:NEW HOOK_POINT of parity rows, with --case NAME where one is meant."""
    tests: tuple[str, ...]
    """Ids of pytest; one without parameters stands for all of them."""

    @property
    def proofs(self) -> tuple[str, ...]:
        """All that shows it."""
        return self.cases + self.tests


Compared = tuple[str, str, str, str]
"""Model, old, new and case."""


@dataclass(frozen=True)
class Suite:
    """What is run.

    Attributes:
        default: what `make parity` compares.
        extra: and `make parity MODELS=all`.
        tests: ids that pytest collects for `make test`.
    """

    default: frozenset[Compared]
    extra: frozenset[Compared]
    tests: frozenset[str]


@dataclass(frozen=True)
class Map:
    """The content of ``overrides.toml``."""

    rows: dict[str, OverrideReason]
    overrides: dict[Override, tuple[str, ...]]
    """Override -> names of its rows."""
    outside: dict[Override, str]
    """Override that computes nothing in an encoder -> the reason."""


def read_map(path: Path = DATA) -> Map:
    """Reads the data file."""
    try:
        content = tomllib.loads(path.read_text())
        raw = content.pop("rows")
        rows = {
            name: OverrideReason(
                row["title"], *(tuple(row[k]) for k in ("patches", "cases", "tests"))
            )
            for name, row in raw.items()
        }
        overrides: dict[Override, tuple[str, ...]] = {}
        outside: dict[Override, str] = {}
        for file, owners in content.items():
            for owner, members in owners.items():
                for name, value in members.items():
                    kind, _, reason = value.partition(": ")
                    if kind == "outside":
                        outside[Override(file, owner, name)] = reason
                    else:
                        overrides[Override(file, owner, name)] = tuple(value.split())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MmparityError(f"{path} cannot be read: {error!r}") from error
    return Map(rows, overrides, outside)


def find_overrides(
    sources: Path = SOURCES, releases: Iterable[str] = RELEASES
) -> list[Override]:
    """Every override of an encoder's class in the releases."""
    found: list[Override] = []
    for release in releases:
        package = sources / release / "vllm_ascend"
        if not package.is_dir():
            raise MmparityError(f"{package} is not there. Run `make sources`.")
        for place in PLACES:
            for file in sorted(package.glob(place)):
                name = f"{release}/{file.relative_to(package)}"
                found += _of_file(name, ast.parse(file.read_text()))
    return found


def problems(
    known: Map, found: Iterable[Override], patches: Iterable[str], suite: Suite
) -> list[str]:
    """What is wrong: overrides without a place, places without an override or proof."""
    found, patches = set(found), set(patches) | {UPSTREAM}
    listed = known.overrides.keys() | known.outside.keys()
    lines = [f"{_text(item)} has no row" for item in sorted(found - listed)]
    lines += [f"{_text(item)} is in no release" for item in sorted(listed - found)]
    for item, rows in known.overrides.items():
        unknown = [name for name in rows if name not in known.rows]
        if unknown or not rows:
            lines.append(f"{_text(item)}: no row {' '.join(unknown) or 'at all'}")
    used = {name for rows in known.overrides.values() for name in rows}
    for name, row in known.rows.items():
        missing = sorted(set(row.patches) - patches)
        lines += [f"{name}: there is no patch {patch}" for patch in missing]
        if not row.patches:
            lines.append(f"{name} has no patch")
        if name not in used:
            lines.append(f"{name} is the row of no override")
        lines += [f"{name}: {text}" for text in _unproven(row, suite)]
    return lines


def _unproven(row: OverrideReason, suite: Suite) -> Iterator[str]:
    """What of a row's proofs nobody runs."""
    always = []
    for case in row.cases:
        error = case_problem(case, suite)
        if error:
            yield f"{case!r}: {error}"
        elif _compared(_parsed(case)) & suite.default:
            always.append(case)
    for test in row.tests:
        if test in suite.tests:
            always.append(test)
        else:
            yield f"pytest collects no {test} for `make test`"
    if not always:
        yield "neither `make test` nor `make parity` runs a proof of it"


def _parsed(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    for name in ("model", "pair", "hook_point"):
        parser.add_argument(name)
    parser.add_argument("--case", choices=CASES)
    given, more = parser.parse_known_args(text.split())
    if more:
        raise MmparityError(f"a parity row has no option {' '.join(more)}")
    return given


def _compared(given: argparse.Namespace) -> set[Compared]:
    """All that a parity row is part of; of every case if none is named."""
    old, _, new = given.pair.partition(":")
    cases = [given.case] if given.case else CASES
    return {(given.model, old, new, case) for case in cases}


def case_problem(text: str, suite: Suite) -> str:
    """Why no run of the suite makes that parity row; empty if one does."""
    try:
        given = _parsed(text)
        model = models.get(given.model)
    except (argparse.ArgumentError, MmparityError, SystemExit) as error:
        return str(error)
    order = hook_points.ARCHITECTURES[models.FAMILIES[model.family].architecture]
    points = (*order.all, *hook_points.OF_MODEL)
    if given.hook_point not in {point.name for point in points}:
        return f"{model.name} has no hook point {given.hook_point}"
    if not _compared(given) & (suite.default | suite.extra):
        of = f"case {given.case} of {model.name}" if given.case else model.name
        return (
            f"neither `make parity` nor `make parity MODELS=all` compares {given.pair} "
            f"on {of}"
        )
    return ""


def table(known: Map) -> str:
    """The page of ``patches/README.md``."""
    lines = [
        "# Where the overrides of vllm-ascend went",
        "",
        "Every method with which vllm-ascend 0.11.0 and 0.12.0rc1 replace or extend "
        "vLLM's encoders, found by parsing them; a test fails if one is missing here. "
        "Written by `make docs` from `overrides.toml`; not to be edited by hand.",
        "",
        "| behaviour | what | patches | proven by |",
        "|---|---|---|---|",
    ]
    for name, row in known.rows.items():
        proofs = "<br>".join(f"`{proof}`" for proof in row.proofs)
        patches = ", ".join(row.patches)
        lines.append(f"| {name} | {row.title} | {patches} | {proofs} |")
    lines += [
        "",
        "`upstream`: vLLM 0.12.0 does it without a patch. Proofs are parity rows of "
        "`make parity` or `make parity MODELS=all`, and tests of `make test`; each "
        "behaviour has one that `make parity` or `make test` runs.",
        "",
    ]
    lines += ["| override | behaviours |", "|---|---|"]
    for item, rows in known.overrides.items():
        lines.append(f"| {_cell(item)} | {', '.join(rows)} |")
    lines += ["", "Outside of encoders:", "", "| override | why |", "|---|---|"]
    lines += [f"| {_cell(item)} | {why} |" for item, why in known.outside.items()]
    return "\n".join(lines) + "\n"


def _of_file(file: str, tree: ast.Module) -> Iterator[Override]:
    """Members of subclasses of vLLM's encoder classes, and what is assigned to them."""
    theirs = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and _ENCODERS.match(node.module or "")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            if bases & theirs:
                yield from (Override(file, node.name, name) for name in _members(node))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if (
                    isinstance(target, ast.Attribute)
                    and isinstance(target.value, ast.Name)
                    and target.value.id in theirs
                ):
                    yield Override(file, target.value.id, target.attr)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield item.name
        elif isinstance(item, ast.Assign):
            yield from (t.id for t in item.targets if isinstance(t, ast.Name))
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id


def _text(item: Override) -> str:
    return f"{item.file}: {item.owner}.{item.name}"


def describe(item: Override) -> str:
    """Version, file and method, in that order."""
    release, _, path = item.file.partition("/")
    version = release.removeprefix("vllm-ascend-")
    return f"{version} {Path(path).name} {item.owner}.{item.name}"


def _cell(item: Override) -> str:
    version, *rest = describe(item).split()
    return " ".join([version, *(f"`{part}`" for part in rest)])
