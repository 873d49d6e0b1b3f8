# SPDX-License-Identifier: Apache-2.0
"""The tests of patches on another tree: what merges there may still be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from patchseries.errors import PatchseriesError
from patchseries.git import Git, State, write_alternates
from patchseries.pins.fetch import init_repository
from patchseries.pins.sources import Source
from patchseries.project import Project
from patchseries.proof.environment import environment_of
from patchseries.proof.results import FAILED, NOT_RUN, PASSED
from patchseries.proof.run_tests import Bench, Run, run_tests, test_paths
from patchseries.proof.walk import TESTS, Walk, tree_with
from patchseries.scratch import scratch_folder
from patchseries.series.patch import Patch
from patchseries.series.series import AUTHOR, DATE, Series
from patchseries.tree.target import GitTarget, PackageTarget, Target

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Nobody is told how far it is."""


@dataclass(frozen=True)
class Proof:
    """What a patch's tests say of it on another tree.

    Attributes:
        status: passed, failed or not-run.
        text: one clause.
        dead: whether they pass without its code too.
    """

    status: str
    text: str
    dead: bool = False


class Trial:
    """A scratch checkout of another tree, taken along what a series makes of it."""

    def __init__(
        self, project: Project, one: Walk, stack: ExitStack, tree: str
    ) -> None:
        self._one = one
        self._bench = Bench(project, one, stack)
        self._tree = tree

    def step(self, after: Mapping[str, State]) -> None:
        """Go on to what the tree is with one more patch."""
        self._tree = tree_with(self._one.git, self._tree, after)

    def of_carried(self, patch: Patch, after: Mapping[str, State]) -> Proof:
        """The tests of a patch that is carried over, with and without its code."""
        green = self._run(patch, after)
        if green.status == PASSED:
            tests = {p: s for p, s in after.items() if p.startswith(TESTS)}
            if self._run(patch, tests).status == PASSED:
                text = f"{green.text}, and without its code too: upstream may have it"
                return Proof(PASSED, text, dead=True)
        return green

    def of_upstream(self, patch: Patch) -> Proof:
        """The tests of a patch alone, on a tree that is said to have what it does."""
        tests = {c.path: c.new for c in patch.changes if c.path.startswith(TESTS)}
        found = self._run(patch, tests)
        return Proof(found.status, f"{found.text} (without its code)")

    def _run(self, patch: Patch, states: Mapping[str, State]) -> Proof:
        plan = test_paths(patch)
        if isinstance(plan, str):
            return not_run(plan.partition(": ")[2])
        tree = tree_with(self._one.git, self._tree, states)
        return _judge(run_tests(self._bench, self._one.show(tree), plan))


def _judge(run: Run | str) -> Proof:
    if isinstance(run, str):
        return not_run(run.strip().splitlines()[-1].removeprefix("E").strip())
    passed, failed = run.of("ok"), run.of("failure")
    errors = [x[1:].strip() for x in run.output.splitlines() if x.startswith("E  ")]
    if failed:
        first = f"{failed[0]}: {errors[0]}" if errors else failed[0]
        text = f"its tests fail there: {len(failed)} of {len(run.tests)}, {first}"
        return Proof(FAILED, text)
    if run.status == 0 and passed:
        return Proof(PASSED, f"its {len(passed)} tests pass there")
    return not_run(f"its tests cannot run there: {(errors or ['none ran'])[-1]}")


def not_run(why: str) -> Proof:
    """That nothing but the text speaks for a patch."""
    return Proof(NOT_RUN, f"text only: {why}")


@contextmanager
def trial(
    project: Project, git: Git, target: Target, source: Source, series: Series
) -> Iterator[Trial]:
    """The files of `target`, in a folder that is gone afterwards.

    Args:
        git: a repository with the blobs of the series and of what becomes of it.
        source: says what the tests need beside the tree.

    Raises:
        PatchseriesError: this environment cannot run them.
    """
    if isinstance(target, PackageTarget):
        raise PatchseriesError("no-tests", "an installed package has no tests")
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        init_repository(folder, "series")
        objects = [
            git.folder / "objects",
            *target.objects,
            project.objects(series.name),
        ]
        write_alternates(folder / ".git/objects", objects)
        own = Git(folder)
        tree = _whole_tree(own, target)
        one = Walk(folder, own, source, series, environment_of(project, source))
        one.base = one.tip = own.commit(tree, None, "other\n", AUTHOR, DATE)
        yield Trial(project, one, stack, tree)


def _whole_tree(git: Git, target: Target) -> str:
    if isinstance(target, GitTarget):
        return target.git("rev-parse", f"{target.head}^{{tree}}")
    there = Git(target.root, {"GIT_DIR": str(git.folder / ".git")})
    there("add", "--all", "--force", "--", ".", ":(exclude,top).patchseries")
    return there("write-tree")
