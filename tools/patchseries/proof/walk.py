# SPDX-License-Identifier: Apache-2.0
"""A scratch checkout that is taken along a series, patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patchseries.apply.classify import classify
from patchseries.apply.commits import build_commits
from patchseries.errors import PatchseriesError
from patchseries.git import Git, State, write_alternates
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import Source, read_sources
from patchseries.project import Project
from patchseries.proof.environment import Environment, environment_of
from patchseries.scratch import scratch_folder
from patchseries.series.export import commits_after, patch_id
from patchseries.series.folder import read_series
from patchseries.series.patch import Patch
from patchseries.series.series import Series

TESTS = "tests/"


@dataclass(frozen=True)
class Step:
    """One patch, and the tree on both sides of it.

    Attributes:
        tests_tree: the tree before, with only what the patch does to tests.
        content_id: changes with what the patch does, not with positions.
    """

    patch: Patch
    parent: str
    tree_before: str
    tree_after: str
    tests_tree: str
    content_id: str

    @property
    def files(self) -> list[str]:
        """The paths that the patch adds or changes."""
        return [c.path for c in self.patch.changes if c.new is not None]


class Walk:
    """The steps of a series, and a folder that can hold the tree at each of them."""

    def __init__(
        self,
        folder: Path,
        git: Git,
        source: Source,
        series: Series,
        environment: Environment,
    ) -> None:
        self.folder = folder
        self.git = git
        self.source = source
        self.series = series
        self.environment = environment
        self.steps: list[Step] = []
        self.base = self.tip = ""
        self._shown = ""

    @property
    def tip_tree(self) -> str:
        return self.steps[-1].tree_after

    def show(self, tree: str, head: str = "") -> Path:
        """Put a tree into the folder, staged on the commit `head`."""
        if self._shown:
            options = ("-r", "-z", "--name-only")
            for path in self.git.records("diff-tree", *options, self._shown, tree):
                _drop_byte_code(self.folder / path)
        self.git("read-tree", "--reset", "-u", tree)
        self.git("update-ref", "--no-deref", "HEAD", head or self.tip)
        self._shown = tree
        return self.folder

    def read(self, tree: str, path: str) -> bytes | None:
        """A file of a tree, None when there is none."""
        state = self.git.states(tree, [path])[path]
        return self.git.output("cat-file", "blob", state[1]) if state else None


@contextmanager
def walk(project: Project, name: str) -> Iterator[Walk]:
    """The series `name` as steps, in a folder that is gone afterwards.

    Raises:
        PatchseriesError: the series does not apply to its pristine tree, or what runs
            its tests and gates is not there.
    """
    series = read_series(project, name)
    source = read_sources(project.pins).get(name)
    if source is None:
        raise PatchseriesError("unknown-source", f"{name} is no pinned tree")
    pristine = require_pristine(project, source)
    environment = environment_of(project, source)
    with scratch_folder() as folder:
        git = Git(folder)
        git("init", "-q", "--template=", "--initial-branch=series")
        (folder / ".git/objects/info").mkdir(exist_ok=True)
        write_alternates(folder / ".git/objects", [project.objects(name)])
        one = Walk(folder, git, source, series, environment)
        _take_steps(one, Git(pristine)("rev-parse", "HEAD"))
        yield one


def _take_steps(one: Walk, base: str) -> None:
    git, series = one.git, one.series
    result = classify(git, series, git.states(base, series.paths))
    if result.state != "not-applied":
        bad = next(v for v in result.verdicts if v.outcome != "exact")
        raise PatchseriesError(
            "broken-series",
            f"{series.name}/{bad.slug}.patch does not apply to the pristine tree",
            f"patchseries check --series {series.name}",
        )
    one.base, one.tip = base, build_commits(git, base, result)
    parent, tree = base, git("rev-parse", f"{base}^{{tree}}")
    commits = commits_after(git, base, one.tip)
    for patch, commit in zip(series.patches, commits, strict=True):
        tests = {c.path: c.new for c in patch.changes if c.path.startswith(TESTS)}
        one.steps.append(
            Step(
                patch=patch,
                parent=parent,
                tree_before=tree,
                tree_after=commit.tree,
                tests_tree=tree_with(git, tree, tests),
                content_id=patch_id(git, patch.data),
            )
        )
        parent, tree = commit.id, commit.tree
    git("read-tree", "--empty")


def tree_with(git: Git, tree: str, states: Mapping[str, State]) -> str:
    """A tree with some of its paths replaced; uses the index."""
    git("read-tree", tree)
    git.set_index(states)
    return git("write-tree", "--missing-ok")


def _drop_byte_code(path: Path) -> None:
    """Two contents of a file may be of one size and second, which misleads Python."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
