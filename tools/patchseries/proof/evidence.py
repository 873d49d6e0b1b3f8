# SPDX-License-Identifier: Apache-2.0
"""What was measured of a patch as it is now: nothing older counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.project import Project
from patchseries.proof.gates import gate_key, gated_files
from patchseries.proof.red_green import CHECK, TOOLS, red_green_key
from patchseries.proof.results import PASSED, Result, Results
from patchseries.proof.run_tests import Bench
from patchseries.proof.walk import Step, Walk, walk

REPORT_LIMIT = 40_000
"""Characters of the parity report: GitHub takes 65,536 for the whole text."""


def evidence(project: Project, name: str, slug: str, run: Path) -> list[str]:
    """The Test Result of a patch, as paragraphs.

    Args:
        run: folder of a parity run.

    Raises:
        PatchseriesError: a check has no passing result, or the run is of other trees.
    """
    with walk(project, name) as one:
        step = next(step for step in one.steps if step.patch.slug == slug)
        results = list(_results(project, one, step))
        for check, result in results:
            if result is None or result.outcome.status != PASSED:
                found = result.outcome.summary if result else "has no result"
                raise PatchseriesError(
                    "no-result",
                    f"{name}/{slug}.patch as it is now: {check} {found}",
                    f"patchseries check --red-green --series {name}; `--draft` prints"
                    " the text without results",
                )
        tests = [_shown(result) for _, result in results if result]
        return [*tests, _parity(run, one.source.name, one.tip_tree)]


def _results(
    project: Project, one: Walk, step: Step
) -> Iterator[tuple[str, Result | None]]:
    kept = Results(project, one.series.name, step.patch)
    with ExitStack() as stack:
        bench = Bench(project, one, stack)
        tools = one.environment.versions(TOOLS)
        yield CHECK, kept.get(CHECK, red_green_key(bench, step, tools))
    for gate in one.source.gates:
        if gated_files(gate, step):
            yield gate.name, kept.get(gate.name, gate_key(one, gate, step))


def _shown(result: Result) -> str:
    tools = ", ".join(f"{k} {v}" for k, v in result.tools.items() if v)
    outcome = result.outcome
    lines = [f"$ {outcome.command}", outcome.summary, f"# {result.when}, {tools}"]
    return (
        "```\n"
        + "\n".join([*lines, *(f"# {note}" for note in outcome.notes)])
        + "\n```"
    )


def _parity(run: Path, source: str, tree: str) -> str:
    path = run / "comparison.json"
    try:
        found = json.loads(path.read_text())
        provenance = found["provenance"]
        users = [
            impl for impl, t in provenance["trees"].items() if t.get(source) == tree
        ]
        verdict, summary = found["verdict"], found["summary"]
        counts = f"{summary['passed']} of {summary['total']} comparisons passed, "
        counts += f"{summary['failed']} failed, {summary['unmatched']} without a pair"
        command = provenance["command"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise PatchseriesError(
            "no-parity-run", f"{path} is no finished run", "make parity"
        ) from None
    if not users:
        raise PatchseriesError(
            "old-parity-run",
            f"{path} compares other trees than the series as it is now ({tree[:12]})",
            "make parity",
        )
    pairs = sorted({f"{c['old']} against {c['new']}" for c in found["cases"]
                    if {c["old"], c["new"]} & set(users)})  # fmt: skip
    return (
        "Layer by layer, with the whole series applied:\n\n"
        f"```\n$ {command}\n{verdict}: {counts}\n# {provenance['created']}\n```\n\n"
        + "\n".join(f"- {pair}" for pair in pairs)
        + f"\n\n{_report(run, str(provenance['created']))}"
    )


def _report(run: Path, created: str) -> str:
    """What a reviewer reads first of the run's Markdown report; details stay there."""
    path = run / "report.md"
    try:
        text = path.read_text()
    except OSError as error:
        text, reason = "", f"{path} cannot be read: {error.strerror}"
    else:
        reason = f"{path} is of another run than comparison.json beside it"
    if created not in text:
        raise PatchseriesError("no-report", reason, f"mmparity report {run}")
    shown = text.partition("\n<details>")[0].replace("\n#", "\n##").strip()
    kept = shown[:REPORT_LIMIT].rpartition("\n")[0]
    if len(shown) > REPORT_LIMIT:
        left = shown[len(kept) :].count("\n")
        return f"##{kept}\n\n> Cut: {left} more lines are in report.md."
    return f"##{shown}"
