# SPDX-License-Identifier: Apache-2.0
"""What was proven of each patch: `build/checks/<series>/<slug>.json`.

A result is believed as long as its key is: a hash over everything it depends on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from patchseries.files import write_whole
from patchseries.project import Project
from patchseries.series.lint import Finding
from patchseries.series.patch import Patch

_LINES = 12  # of output, in a finding
PASSED, FAILED, NOT_RUN = "passed", "failed", "not-run"


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        status: passed, failed or not-run.
        command: as a person would type it in the tree.
        summary: one line.
        detail: the output that explains a failure.
        notes: what is worth knowing though it is no failure.
    """

    status: str
    command: str = ""
    summary: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """One kept outcome, and what it is true for."""

    check: str
    key: str
    outcome: Outcome
    tools: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    when: str = ""

    def finding(self, series: str, patch: str) -> Finding | None:
        """What a report says, None when it passed."""
        outcome = self.outcome
        if outcome.status == PASSED:
            return None
        text = f"{self.check} {outcome.summary or outcome.status}"
        lines = outcome.detail.splitlines()
        more = [f"and {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
        text += "".join(f"\n    {line}" for line in [*lines[:_LINES], *more])
        return Finding(series, patch, "gate", text)


class Results:
    """The results of one patch."""

    def __init__(self, project: Project, series: str, patch: Patch) -> None:
        self.path = project.root / "build/checks" / series / f"{patch.slug}.json"
        self._kept = self._read()

    def get(self, check: str, key: str) -> Result | None:
        """A kept result that is still true."""
        result = self._kept.get(check)
        return result if result and result.key == key else None

    def put(self, result: Result) -> None:
        """Keep a result; one that could not run is not kept."""
        if result.outcome.status == NOT_RUN:
            return
        self._kept[result.check] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: asdict(one) for name, one in self._kept.items()}
        write_whole(self.path, json.dumps(kept, indent=1) + "\n")

    def _read(self) -> dict[str, Result]:
        try:
            data = json.loads(self.path.read_text())
            return {name: _result(one) for name, one in data.items()}
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return {}


def _result(data: dict[str, Any]) -> Result:
    outcome = Outcome(**{**data["outcome"], "notes": tuple(data["outcome"]["notes"])})
    return Result(**{**data, "outcome": outcome})


def proven(
    results: Results,
    check: str,
    key: str,
    tools: dict[str, str],
    run: Callable[[], Outcome],
) -> Result:
    """The kept result, or that of running the check now."""
    if kept := results.get(check, key):
        return kept
    started = time.monotonic()
    outcome = run()
    seconds = round(time.monotonic() - started, 1)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    result = Result(check, key, outcome, tools, seconds, when)
    results.put(result)
    return result


def key_of(*parts: Any) -> str:
    """A hash over plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def files_digest(root: Path, paths: Sequence[str]) -> str:
    """A hash over the Python files at and below some paths of a folder."""
    whole = hashlib.sha256()
    for path in paths:
        full = root / path
        for file in sorted(full.rglob("*.py")) if full.is_dir() else [full]:
            whole.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return whole.hexdigest()
