# SPDX-License-Identifier: Apache-2.0
"""Upstream's own checks on each patch, with the patch staged where it is applied.

Some of the hooks look only at what is staged and pass on anything committed. A gate
that could not run is a finding.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator

from patchseries.pins.sources import Gate
from patchseries.project import Project
from patchseries.proof.environment import Environment
from patchseries.proof.results import (
    FAILED,
    NOT_RUN,
    PASSED,
    Outcome,
    Results,
    key_of,
    proven,
)
from patchseries.proof.walk import Step, Walk
from patchseries.series.lint import Finding

Say = Callable[[str], None]
_TIMEOUT_S = 600
_CRASH = "Traceback (most recent call last)"
_DIED = ("ModuleNotFoundError", "ImportError", "MemoryError")  # no judgement


def check_gates(project: Project, one: Walk, say: Say) -> Iterator[Finding]:
    """Findings of every gate on every patch of a series."""
    for step in one.steps:
        results = Results(project, one.series.name, step.patch)
        for gate in one.source.gates:
            if not gated_files(gate, step):
                continue

            def run(gate: Gate = gate, step: Step = step) -> Outcome:
                say(f"{one.series.name}/{step.patch.slug}: {gate.name}")
                return run_gate(one, gate, step)

            key, tools = gate_key(one, gate, step), gate_tools(one, gate)
            result = proven(results, gate.name, key, tools, run)
            if finding := result.finding(one.series.name, step.patch.slug):
                yield finding


def gated_files(gate: Gate, step: Step) -> list[str]:
    """The files of a patch that a gate is about; the Python ones when it says none."""
    return [
        path
        for path in step.files
        if re.search(gate.files or r"\.py$", path)
        and not (gate.exclude and re.search(gate.exclude, path))
    ]


def gate_tools(one: Walk, gate: Gate) -> dict[str, str]:
    """The versions that a gate would run."""
    return one.environment.versions([need.partition("==")[0] for need in gate.needs])


def gate_key(one: Walk, gate: Gate, step: Step) -> str:
    """Everything that a result depends on."""
    trees = [step.content_id, step.tree_before, step.tree_after]
    files, tools = gated_files(gate, step), gate_tools(one, gate)
    return key_of(trees, gate.command, gate.needs, files, tools)


def run_gate(one: Walk, gate: Gate, step: Step) -> Outcome:
    """Run one gate in the scratch checkout."""
    if missing := missing_tools(one.environment, gate):
        return Outcome(NOT_RUN, gate.command, f"could not run: {missing}")
    files = gated_files(gate, step) if gate.files else []
    outcome = _run(one, step.tree_after, step, gate, files)
    if outcome.status != FAILED:
        return outcome
    before = _run(one, step.tree_before, step, gate, files)
    found = _diagnostics(outcome)
    if found and not found - _diagnostics(before):
        note = f"{gate.name} says the same of the files before the patch"
        return Outcome(PASSED, outcome.command, "passed", notes=(note,))
    return outcome


def _diagnostics(outcome: Outcome) -> Counter[str]:
    """What a tool says of a line of a file, without the line's number."""
    return Counter(
        match[1] + match[2]
        for line in outcome.detail.splitlines()
        if (match := re.match(r"(\S+?):\d+(?::\d+)?:(.*)", line))
    )


def _run(one: Walk, tree: str, step: Step, gate: Gate, files: list[str]) -> Outcome:
    """Run a gate on those of the files that `tree` has, staged on the step's parent."""
    folder = one.show(tree, step.parent)
    files = [path for path in files if (folder / path).exists()]
    shown = " ".join([gate.command, *files])
    program, *arguments = shlex.split(gate.command)
    if program == "python":
        program = str(one.environment.python)
        if not (folder / arguments[0]).is_file():
            return Outcome(NOT_RUN, shown, f"could not run: no {arguments[0]}")
    environment = one.environment.variables(folder)
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        return Outcome(NOT_RUN, shown, f"could not run: no program {program}")
    try:
        done = subprocess.run(
            [found, *arguments, *files],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Outcome(NOT_RUN, shown, f"could not run: no end after {_TIMEOUT_S} s")
    return _judge(shown, done.returncode, done.stdout.decode(errors="replace"))


def _judge(shown: str, status: int, output: str) -> Outcome:
    if status == 0:
        return Outcome(PASSED, shown, "passed")
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    died = last.startswith(_DIED) or any(line.startswith(_CRASH) for line in lines)
    if died or status < 0 or status in (126, 127):
        why = last or f"exit status {status}"
        return Outcome(NOT_RUN, shown, f"could not run: {why}")
    return Outcome(FAILED, shown, f"failed (exit status {status})", "\n".join(lines))


def missing_tools(environment: Environment, gate: Gate) -> str:
    """Why a gate's tools are not what it needs, empty when they are."""
    python, way = environment.python, environment.way
    for need in gate.needs:
        name, _, wanted = need.partition("==")
        version = environment.versions([name])[name]
        if not version:
            return f"{name} is not installed (`{way}`)"
        if wanted and not (python.parent / name).exists():
            return f"{name} has no program beside {python} (`{way}`)"
        if wanted and version != wanted:
            return f"{name} is {version}, needed is {wanted} (`{way}`)"
    return ""
