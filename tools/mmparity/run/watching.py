# SPDX-License-Identifier: Apache-2.0
"""``mmparity watch``: a run, and the part of it that an edit of a tree touches, again.

The first run leaves its traces; after an edit, implementations of the edited trees are
captured anew and their pairs compared, and all else stays as it was judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree

from mmparity.capture.job import Job
from mmparity.compare.result import build_result, with_cases, write_result
from mmparity.processes import Starter
from mmparity.run.code_of_run import tree_changes
from mmparity.run.execute import execute
from mmparity.run.plan import Plan
from mmparity.run.prepare import Subject
from mmparity.run.workers import LocalCrew, RunState, Watcher
from mmparity.trace.manifest import MANIFEST
from mmparity.types.comparison import ComparisonResult


@dataclass
class Watch:
    """Plans that keep their traces; ``fresh`` are those that the trees still make."""

    plans: Sequence[Plan]
    starter: Starter
    fresh: set[str] = field(default_factory=set)
    result: ComparisonResult = field(init=False)

    @property
    def trees(self) -> dict[Path, set[str]]:
        """Folder of each tree -> the implementations that are made of it."""
        found: dict[Path, set[str]] = {}
        for plan in self.plans:
            for name, trees in plan.trees.items():
                for tree in trees.values():
                    found.setdefault(Path(tree).resolve(), set()).add(name)
        return found

    def first(self, watcher: Watcher) -> ComparisonResult:
        """The whole run, with the cache that its options name."""
        result = execute(self.plans, watcher, self.starter)
        # What is being edited is no matter for a cache.
        self.plans = [
            replace(plan, options=replace(plan.options, cache=None))
            for plan in self.plans
        ]
        return self._judged(result)

    def touched(self, files: Iterable[Path]) -> set[str]:
        """The implementations that files belong to; they are stale from now on."""
        names = {
            name
            for file in files
            for tree, names in self.trees.items()
            if file.is_relative_to(tree)
            for name in names
        }
        self.fresh -= names
        return names

    def again(self, watcher: Watcher) -> ComparisonResult:
        """Captures what is stale and judges its pairs; the rest is as it was."""
        stale = [replace(plan, pairs=self._stale_pairs(plan)) for plan in self.plans]

        def crew(
            batch: Sequence[Subject],
            number: int,
            starter: Starter,
            adapt: Callable[[Job], Job] = lambda job: job,
        ) -> Stale:
            return Stale(batch, number, starter, adapt, self.fresh)

        plans = [plan for plan in stale if plan.pairs]
        for name in {name for plan in plans for name in plan.trees} - self.fresh:
            rmtree(plans[0].options.out / "traces" / name, ignore_errors=True)
        part = execute(plans, watcher, self.starter, crew=crew)
        new = {case.id: case for case in part.cases}
        cases = tuple(new.get(case.id, case) for case in self.result.cases)
        result = replace(
            build_result(cases, part.provenance),
            engine=part.engine,
            stages=part.stages,
            since=part.since,
            changes=tree_changes(self.plans),
        )
        result = with_cases(result, cases)  # The verdict counts the engine's too.
        write_result(result, self.plans[0].options.out)
        return self._judged(result)

    def _stale_pairs(self, plan: Plan) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in plan.pairs if not self.fresh.issuperset(pair))

    def _judged(self, result: ComparisonResult) -> ComparisonResult:
        """Remembers it; what could not be captured stays stale."""
        names = {name for plan in self.plans for name in plan.trees}
        self.fresh = {name for name in names if self._is_captured(name)}
        self.result = result
        return result

    def _is_captured(self, name: str) -> bool:
        return all(
            (plan.trace_dir(name, case, dtype) / MANIFEST).is_file()
            for plan in self.plans
            if name in plan.trees
            for case in plan.cases
            for dtype in plan.dtypes_of(name)
        )


class Stale(LocalCrew):
    """Captures the implementations whose traces are not ``fresh``."""

    def __init__(
        self,
        batch: Sequence[Subject],
        number: int,
        starter: Starter,
        adapt: Callable[[Job], Job],
        fresh: set[str],
    ) -> None:
        super().__init__(batch, number, starter, adapt)
        self.fresh = fresh

    def capture_all(
        self, names: Sequence[str], state: RunState, watcher: Watcher
    ) -> None:
        """Captures those of ``names`` that are not."""
        state.captured |= self.fresh
        super().capture_all(names, state, watcher)
