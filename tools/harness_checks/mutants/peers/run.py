# SPDX-License-Identifier: Apache-2.0
"""Runs the catalogue once more, judged by other tools."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.peers.types import Found
from harness_checks.mutants.trial import ServerJob, TrialOutcome
from harness_checks.mutants.workload import get as get_workload
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS

PACKAGES = {"msprobe": (3, 10), "sglang": (3, 11)}
"""Package of each tool -> the oldest Python that it is for."""
RANKS = "needs several ranks; the tools run on one here"
NO_FORWARD = "raises an error before there is a forward"
TOO_OLD = "needs a later Python"
Judged = dict[str, dict[str, Found]]
"""Mutant -> tool -> what it found."""


def runnable(folder: Path = EXTRAS / "peers") -> tuple[str, ...]:
    """The tools that this Python can run; raises where one of them is missing."""
    fitting = [name for name, oldest in PACKAGES.items() if sys.version_info >= oldest]
    missing = [name for name in fitting if not (folder / name).is_dir()]
    if missing:
        raise MmparityError(
            f"{' and '.join(missing)} not installed in {folder}. "
            "Run `make setup EXTRA=peers`."
        )
    return tuple(fitting)


def jobs_for(
    jobs: Iterable[ServerJob], mutants: Sequence[Mutant], tools: tuple[str, ...]
) -> Iterator[ServerJob]:
    """The same servers, for the tools and what they can run."""
    able = {mutant.name for mutant in mutants if not why_not(mutant)}
    for job in jobs:
        names = tuple(name for name in job.mutants if name in able)
        if names:
            yield replace(job, mutants=names, peers=tools, work=f"{job.work}-peers")


def why_not(mutant: Mutant) -> str:
    """Why the tools are not run on a mutant; '' where they are."""
    return RANKS if get_workload(mutant.workload).ranks > 1 else ""


def judged(mutants: Iterable[Mutant], outcomes: dict[str, TrialOutcome]) -> Judged:
    """What each tool found of each mutant and of each tree without an edit."""
    found: Judged = {}
    for mutant in mutants:
        reason = why_not(mutant)
        if mutant.kind != "several":
            missing = Found(reason=reason) if reason else None
            found[mutant.name] = _of(outcomes.get(mutant.name), missing)
    for name, outcome in outcomes.items():
        found.setdefault(name, _of(outcome, None))
    return found


def _of(outcome: TrialOutcome | None, missing: Found | None) -> dict[str, Found]:
    known = {} if outcome is None else outcome.peers
    if missing is None:
        missing = Found(reason=TOO_OLD if known else NO_FORWARD)
    return {
        name: Found(**{**known[name], "places": tuple(known[name]["places"])})
        if name in known
        else missing
        for name in PACKAGES
    }


def check(unchanged: TrialOutcome) -> None:
    """Raises MmparityError where a tool cannot judge a tree without an edit."""
    reasons = [found["reason"] for found in unchanged.peers.values()]
    if not reasons or any(reasons):
        reason = "; ".join(filter(None, [unchanged.reason, *reasons]))
        raise MmparityError(f"other tools, {unchanged.workload}, no edit: {reason}")


def sentence(outcome: TrialOutcome) -> str:
    """What each tool said, in one line."""
    if not outcome.peers:
        return outcome.reason
    words = []
    for name, found in outcome.peers.items():
        said = found["row"] or "raised" if found["flagged"] else "nothing"
        words.append(f"{name}: {found['reason'] or said}")
    return "; ".join(words)
