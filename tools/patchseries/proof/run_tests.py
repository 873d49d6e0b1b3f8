# SPDX-License-Identifier: Apache-2.0
"""How the tests of a tree run: what they need beside it, and what became of each."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from patchseries.errors import PatchseriesError
from patchseries.pins.sources import TestSetup
from patchseries.project import Project
from patchseries.proof.results import files_digest
from patchseries.proof.walk import TESTS, Walk, walk
from patchseries.scratch import scratch_folder
from patchseries.series.patch import Patch

_TIMEOUT_S = 1200


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
            return "pytest wrote no report\n" + tail(output)
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


def tail(output: str, lines: int = 40) -> str:
    """Its last lines."""
    return "\n".join(output.rstrip().splitlines()[-lines:])
