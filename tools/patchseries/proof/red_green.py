# SPDX-License-Identifier: Apache-2.0
"""Whether a patch's tests test it: they fail without its code and pass with it.

Red is the tree before the patch with the patch's tests/ alone, green the tree after it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from xml.etree import ElementTree

from patchseries.errors import PatchseriesError
from patchseries.pins.sources import TestSetup
from patchseries.project import Project
from patchseries.proof.results import (
    FAILED,
    NOT_RUN,
    PASSED,
    Outcome,
    Result,
    Results,
    files_digest,
    key_of,
    proven,
)
from patchseries.proof.walk import TESTS, Step, Walk, walk
from patchseries.scratch import scratch_folder
from patchseries.series.lint import Finding
from patchseries.series.patch import Patch

Say = Callable[[str], None]
CHECK = "red-green"
_TIMEOUT_S = 1200
TOOLS = ("pytest", "torch", "transformers", "numpy")
_FAILING = (1, 2)  # pytest: tests failed, or could not be collected


@dataclass(frozen=True)
class Run:
    """One run of pytest: its exit status and what became of each test."""

    status: int
    tests: Mapping[str, str]
    seconds: float
    output: str

    def of(self, outcome: str) -> list[str]:
        return [test for test, found in self.tests.items() if found == outcome]


class Bench:
    """What the tests of one series need beside its tree, made when first used."""

    def __init__(self, project: Project, one: Walk, stack: ExitStack) -> None:
        if one.source.tests is None:
            raise PatchseriesError(
                "no-test-setup",
                f"{project.pins} does not say how the tests of {one.series.name} run",
                "add [source.tests] to it",
            )
        self.setup: TestSetup = one.source.tests
        self.environment = one.environment
        self._project = project
        self._stack = stack
        self._one = one
        self._others: list[Walk] | None = None
        self._path: list[str] | None = None

    @property
    def others(self) -> list[Walk]:
        """The trees that come before this one, each with its own series."""
        if self._others is None:
            enter = self._stack.enter_context
            self._others = [enter(walk(self._project, n)) for n in self.setup.trees]
        return self._others

    def identity(self) -> list[object]:
        """What a result depends on beside the tree."""
        setup, root = self.setup, self._project.root
        folders = [f"{f}/{p.partition('.')[0]}" for f in setup.import_from
                   for p in self._imported()]  # fmt: skip
        existing = [f for f in folders if (root / f).exists()]
        existing += [f"{f}.py" for f in folders if (root / f"{f}.py").exists()]
        return [
            repr(setup),
            [other.tip_tree for other in self.others],
            files_digest(root, existing),
        ]

    def _imported(self) -> list[str]:
        """The plugins, and what of this project they import."""
        found = list(self.setup.plugins)
        for plugin in self.setup.plugins:
            for folder in self.setup.import_from:
                path = self._project.root / folder / f"{plugin}.py"
                if path.exists():
                    pattern = r"^\s*(?:import|from) (\w+)"
                    found += re.findall(pattern, path.read_text(), re.MULTILINE)
        return found

    def python_path(self) -> list[str]:
        """Folders before the tree on the path."""
        if self._path is None:
            root = self._stack.enter_context(scratch_folder())
            for name, version in self.setup.distributions.items():
                info = root / f"{name}-{version}.dist-info"
                info.mkdir()
                text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                (info / "METADATA").write_text(text)
            for other in self.others:
                place_libraries(
                    self._project, other.source.tests, other.show(other.tip_tree)
                )
            place_libraries(self._project, self.setup, self._one.folder)
            mine = [str(self._project.root / f) for f in self.setup.import_from]
            trees = [str(other.folder) for other in self.others]
            self._path = [str(root), *trees, str(self._one.folder), *mine]
        return self._path


def place_libraries(project: Project, setup: TestSetup | None, tree: Path) -> None:
    """Compiled files of other pins, linked into a tree."""
    for path, origin in (setup.libraries if setup else {}).items():
        source = project.trees / origin
        if not source.is_file():
            raise PatchseriesError(
                "not-fetched",
                f"{source} does not exist",
                f"patchseries fetch {origin.partition('/')[0]}",
            )
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if not (tree / path).exists():
            (tree / path).symlink_to(source)


def check_red_green(
    project: Project, one: Walk, jobs: int, say: Say
) -> Iterator[Finding]:
    """Findings about the tests of each patch of a series.

    Args:
        jobs: how many patches are tested at a time, each in a tree of its own.
    """
    with ExitStack() as stack:
        bench = Bench(project, one, stack)
        tools = one.environment.versions(TOOLS)
        found = {}
        for step in one.steps:
            results = Results(project, one.series.name, step.patch)
            if kept := results.get(CHECK, red_green_key(bench, step, tools)):
                found[step.patch.slug] = kept
        left = [s.patch.slug for s in one.steps if s.patch.slug not in found]
        if min(jobs, len(left)) > 1:
            found |= _side_by_side(project, one.series.name, left, jobs, say)
        for step in one.steps:
            slug = step.patch.slug
            result = found.get(slug) or red_green(project, one, bench, step, say)
            if finding := result.finding(one.series.name, slug):
                yield finding


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


def test_paths(patch: Patch) -> list[str] | str:
    """The arguments of the patch's `pytest` command, or what is wrong with it."""
    plans = [v for k, v in patch.trailers if k.lower() == "test-plan"]
    commands = [shlex.split(plan) for plan in plans]
    found = [words[1:] for words in commands if words and words[0] == "pytest"]
    if not found:
        return "could not run: Test-Plan holds no `pytest PATHS`"
    if not any(c.path.startswith(TESTS) for c in patch.changes):
        return f"failed: the patch changes nothing below {TESTS}"
    return [word for words in found for word in words]


def run_tests(bench: Bench, tree: Path, plan: list[str]) -> Run | str:
    """Run tests of a tree from a folder outside of it.

    Returns:
        What became of them, or why they could not run.
    """
    arguments = [str(tree / a) if a.startswith(TESTS) else a for a in plan]
    plugins = [word for name in bench.setup.plugins for word in ("-p", name)]
    environment = dict(bench.environment.variables(tree))
    environment["PYTHONPATH"] = os.pathsep.join(bench.python_path())
    environment["PYTHONDONTWRITEBYTECODE"] = ""
    with scratch_folder() as folder:
        report = folder / "report.xml"
        command = [
            str(bench.environment.python), "-m", "pytest", "-q", *plugins,
            "-p", "no:cacheprovider",
            *bench.setup.options, f"--rootdir={tree}", f"--junitxml={report}",
            "-o", "junit_family=xunit1", "-o", "addopts=", *arguments,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no end after {_TIMEOUT_S} s"
        output = done.stdout.decode(errors="replace")
        if not report.exists():
            return "pytest wrote no report\n" + _tail(output)
        return _read_report(report, done.returncode, output)


def _read_report(report: Path, status: int, output: str) -> Run:
    tests, seconds = {}, 0.0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = next((k for k in ("error", "failure", "skipped") if k in kinds), "ok")
        where = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        tests[where] = outcome
        seconds += float(case.get("time", 0))
    return Run(status, tests, seconds, output)


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
        return Outcome(FAILED, command, why, _tail(green.output))
    if red.status not in _FAILING or not failing:
        why = f"failed: without the code, pytest ends with {red.status}"
        why += f", {len(failing)} failed: the tests do not test the patch"
        return Outcome(FAILED, command, why, _tail(red.output))
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


def _tail(output: str, lines: int = 40) -> str:
    return "\n".join(output.rstrip().splitlines()[-lines:])
