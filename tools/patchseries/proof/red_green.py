# SPDX-License-Identifier: Apache-2.0
"""Whether a patch's tests test it: they fail without its code and pass with it.

Red is the tree before the patch with the patch's tests/ alone, green the tree after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection

from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.proof.results import (
    FAILED,
    NOT_RUN,
    PASSED,
    Outcome,
    Result,
    Results,
    key_of,
    proven,
)
from patchseries.proof.run_tests import Bench, Run, run_tests, tail, test_paths
from patchseries.proof.walk import Step, Walk, walk
from patchseries.series.lint import Finding

Say = Callable[[str], None]
CHECK = "red-green"
TOOLS = ("pytest", "torch", "transformers", "numpy")
_FAILING = (1, 2)  # pytest: tests failed, or could not be collected


def check_red_green(
    project: Project, one: Walk, jobs: int, say: Say
) -> Iterator[Finding]:
    """Findings about the tests of each patch of a series.

    Args:
        jobs: how many patches are tested at a time, each in a tree of its own.
    """
    with ExitStack() as stack:
        bench = Bench(project, one, stack)
        found = {}
        if jobs > 1:
            found = _side_by_side(
                project, one.series.name, _unproven(project, one, bench), jobs, say
            )
        for step in one.steps:
            slug = step.patch.slug
            result = found.get(slug) or red_green(project, one, bench, step, say)
            if finding := result.finding(one.series.name, slug):
                yield finding


def _unproven(project: Project, one: Walk, bench: Bench) -> list[str]:
    """The patches without a kept result."""
    tools = one.environment.versions(TOOLS)
    return [
        step.patch.slug
        for step in one.steps
        if not Results(project, one.series.name, step.patch).get(
            CHECK, red_green_key(bench, step, tools)
        )
    ]


def _side_by_side(
    project: Project, name: str, slugs: list[str], jobs: int, say: Say
) -> dict[str, Result]:
    """The results of some patches, from as many processes as there are jobs."""
    context = get_context("spawn")
    ends = []
    for number in range(min(jobs, len(slugs))):
        mine, theirs = context.Pipe(duplex=False)
        arguments = (theirs, project, name, slugs[number::jobs], say)
        context.Process(target=_some, args=arguments, daemon=True).start()
        theirs.close()
        ends.append(mine)
    found: dict[str, Result] = {}
    for end in ends:
        try:
            answer = end.recv()
        except EOFError:
            raise PatchseriesError(
                "died",
                f"a process that tested patches of {name} ended without an answer",
                "run it again: results so far are kept; --jobs 1 needs less memory",
            ) from None
        if isinstance(answer, PatchseriesError):
            raise answer
        found |= answer
    return found


def _some(
    end: Connection, project: Project, name: str, slugs: list[str], say: Say
) -> None:
    """Test some patches of a series, and send the results or why there are none."""
    found: dict[str, Result] = {}
    try:
        with walk(project, name) as one, ExitStack() as stack:
            bench = Bench(project, one, stack)
            for step in one.steps:
                if step.patch.slug in slugs:
                    result = red_green(project, one, bench, step, say)
                    found[step.patch.slug] = result
        end.send(found)
    except PatchseriesError as error:
        end.send(error)
    except KeyboardInterrupt:
        pass  # the command that started this says so


def red_green(
    project: Project, one: Walk, bench: Bench, step: Step, say: Say
) -> Result:
    """The kept or new result for one patch."""
    results = Results(project, one.series.name, step.patch)
    tools = one.environment.versions(TOOLS)
    key = red_green_key(bench, step, tools)

    def run() -> Outcome:
        plan = test_paths(step.patch)
        if isinstance(plan, str):
            return Outcome(FAILED, summary=plan)
        title = f"{one.series.name}/{step.patch.slug}"
        say(f"{title}: its tests without its code")
        red = run_tests(bench, one.show(step.tests_tree, step.parent), plan)
        say(f"{title}: its tests with its code")
        green = run_tests(bench, one.show(step.tree_after, step.parent), plan)
        return judge(step, "pytest " + " ".join(plan), red, green)

    return proven(results, CHECK, key, tools, run)


def red_green_key(bench: Bench, step: Step, tools: Mapping[str, str]) -> str:
    """Everything that a result depends on."""
    plan = step.patch.trailer("Test-Plan")
    trees = [step.tests_tree, step.tree_after]
    return key_of(step.content_id, trees, plan, dict(tools), bench.identity())


def judge(step: Step, command: str, red: Run | str, green: Run | str) -> Outcome:
    """Red must fail in tests of the patch, green must pass and must have run."""
    for side, run in (("without the code", red), ("with it", green)):
        if isinstance(run, str):
            first, _, rest = run.partition("\n")
            return Outcome(NOT_RUN, command, f"could not run {side}: {first}", rest)
    assert isinstance(red, Run) and isinstance(green, Run)
    passed, failing = green.of("ok"), [*red.of("failure"), *red.of("error")]
    skipped = len(green.of("skipped"))
    if green.status != 0 or not passed:
        why = f"failed: with the patch, pytest ends with {green.status}"
        why += f", {len(passed)} passed, {skipped} skipped"
        return Outcome(FAILED, command, why, tail(green.output))
    if red.status not in _FAILING or not failing:
        why = f"failed: without the code, pytest ends with {red.status}"
        why += f", {len(failing)} failed: the tests do not test the patch"
        return Outcome(FAILED, command, why, tail(red.output))
    counts = f"{len(passed)} passed"
    counts += f", {skipped} skipped" if skipped else ""
    shown = f"{counts} with the patch; {_red_counts(red)} without its code"
    notes = [f"{name} passes without the code as well" for name in guards(step, red)]
    return Outcome(PASSED, command, shown, notes=tuple(notes))


def _red_counts(red: Run) -> str:
    failed, errors = len(red.of("failure")), len(red.of("error"))
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{errors} could not be collected or set up"] if errors else []
    return ", ".join(parts)


def guards(step: Step, red: Run) -> list[str]:
    """New test functions of which no case fails without the code."""
    if red.of("error"):
        return []  # what was not collected cannot have passed
    added = re.findall(rb"^\+\s*(?:async )?def (test_\w+)", step.patch.data, re.M)
    names = [name.decode() for name in dict.fromkeys(added)]
    outcomes: dict[str, set[str]] = {name: set() for name in names}
    for test, outcome in red.tests.items():
        name = test.partition("[")[0].rpartition(".")[2]
        if name in outcomes:
            outcomes[name].add(outcome)
    return [name for name, found in outcomes.items() if found == {"ok"}]
