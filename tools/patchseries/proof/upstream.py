# SPDX-License-Identifier: Apache-2.0
"""Upstream's own tests on the pristine and on the patched tree: the same results."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from patchseries.project import Project
from patchseries.proof.run_tests import Bench, Run, run_tests
from patchseries.proof.walk import walk


@dataclass(frozen=True)
class Upstream:
    """One test file on both trees.

    Attributes:
        passed: how many pass on both.
        failing: tests that fail on both: what this machine lacks, or upstream's own.
        differing: test -> (outcome before, outcome after) where they differ.
        problem: why it proves nothing, empty when it does.
    """

    path: str
    passed: int = 0
    failing: tuple[str, ...] = ()
    differing: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""

    @property
    def summary(self) -> str:
        """One line."""
        failing = f", {len(self.failing)} fail on both" if self.failing else ""
        return self.problem or f"{self.passed} pass on both trees{failing}"


def compare_upstream(
    project: Project, name: str, say: Callable[[str], None]
) -> list[Upstream]:
    """Run the tests that `[source.tests] upstream` names on both trees.

    Tests that a patch adds have no result before and are left to red-green.
    """
    found = []
    with walk(project, name) as one, ExitStack() as stack:
        bench = Bench(project, one, stack)
        if not bench.setup.upstream:
            return [Upstream(name, problem=f"{project.pins} names no tests of it")]
        for path in bench.setup.upstream:
            runs = []
            for title, tree in (
                ("pristine", one.steps[0].tree_before),
                ("patched", one.tip_tree),
            ):
                say(f"{name}: {path} on the {title} tree")
                runs.append(run_tests(bench, one.show(tree), [path]))
            found.append(_judge(path, *runs))
    return found


def _judge(path: str, before: Run | str, after: Run | str) -> Upstream:
    for run in (before, after):
        if isinstance(run, str):
            return Upstream(path, problem=run)
    assert isinstance(before, Run) and isinstance(after, Run)
    differing = tuple(
        (test, outcome, after.tests.get(test, "missing"))
        for test, outcome in before.tests.items()
        if outcome != after.tests.get(test, "missing")
    )
    changed = {test for test, _, _ in differing}
    passed = [test for test in before.of("ok") if test not in changed]
    failing = {*before.of("failure"), *before.of("error")} - changed
    problem = "" if before.of("ok") else "no test passes on the pristine tree"
    return Upstream(path, len(passed), tuple(sorted(failing)), differing, problem)
