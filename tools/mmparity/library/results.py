# SPDX-License-Identifier: Apache-2.0
"""Runs, captures and comparisons as functions, and a result that shows itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from mmparity.locks import held
from mmparity.run.plan import Options
from mmparity.types.comparison import CaseComparison, ComparisonResult, FirstDivergence
from mmparity.types.row import LayerComparison
from mmparity.types.verdict import Verdict


@dataclass(frozen=True)
class Result:
    """What a comparison found; shows itself in a terminal and in a notebook.

    Attributes:
        data: all of it, as ``comparison.json`` has it.
        folder: where ``comparison.json`` and the reports are.
    """

    data: ComparisonResult
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """``pass``, ``fail`` or ``error``."""
        return self.data.verdict

    @property
    def first_divergence(self) -> FirstDivergence | None:
        """The earliest failing row; None where every row passes."""
        return self.data.first_divergence

    def rows(
        self, verdict: Verdict | None = None
    ) -> Iterator[tuple[CaseComparison, LayerComparison]]:
        """Each row with its case, in order of execution; of one verdict if given."""
        for case in self.data.cases:
            for row in case.layers:
                if verdict is None or row.verdict == verdict:
                    yield case, row

    def write_report(self) -> Path:
        """Writes every report into the folder; returns the HTML page's path."""
        from mmparity.report import PAGES, write_reports

        return write_reports(self.data, self.folder, PAGES)["html"]

    def __str__(self) -> str:
        from mmparity.report import terminal_summary

        return terminal_summary(self.data)

    def _repr_html_(self) -> str:
        rows = Markup().join(_html_row(case) for case in self.data.cases)
        head = Markup("<tr>{}</tr>").format(
            Markup().join(
                Markup("<th>{}</th>").format(name)
                for name in ("case", "verdict", "rows passed", "reason")
            )
        )
        return Markup("<pre>{}</pre><table>{}{}</table>").format(str(self), head, rows)


def _html_row(case: CaseComparison) -> Markup:
    passed = sum(row.verdict == "pass" for row in case.layers)
    cells = (case.id, case.verdict, f"{passed} of {len(case.layers)}", case.reason)
    return Markup("<tr>{}</tr>").format(
        Markup().join(Markup("<td>{}</td>").format(text) for text in cells)
    )


def load_result(path: Path | str) -> Result:
    """A ``comparison.json``, or the folder that holds one.

    Raises:
        MmparityError: there is none, or its form or its counts are wrong.
    """
    from mmparity.compare.result import read_result

    file = Path(path)
    return Result(read_result(file), file if file.is_dir() else file.parent)


def run_parity(options: Options) -> Result:
    """What ``mmparity run`` does: captures, compares, writes result and reports.

    Raises:
        MmparityError: a name is unknown, a tree is missing, the disk will not do.
    """
    from mmparity.capture.worker_process import warm_workers
    from mmparity.run.execute import execute, with_pages
    from mmparity.run.planning import make_plans
    from mmparity.run.progress import ProgressDisplay, plan_lines, steps_of
    from mmparity.workload.implementations import IMPLEMENTATIONS

    plans = make_plans(options, IMPLEMENTATIONS)
    with (
        warm_workers(options.device) as starter,
        held(options.out),
        ProgressDisplay(steps_of(plans), told=plan_lines(plans)) as display,
    ):
        data, _ = with_pages(execute(plans, display, starter), options.out)
    return Result(data, options.out)


def capture_traces(
    implementation: str, options: Options, *, again: bool = False
) -> Path:
    """What ``mmparity capture`` does; returns the folder of the traces.

    Raises:
        MmparityError: as for `run_parity`, or a worker could not run.
    """
    from mmparity.capture.worker_process import WORKER
    from mmparity.run.execute import capture
    from mmparity.run.planning import make_capture_plan
    from mmparity.run.prepare import prepare
    from mmparity.run.progress import ProgressDisplay
    from mmparity.workload.implementations import IMPLEMENTATIONS

    plan = make_capture_plan(options, implementation, IMPLEMENTATIONS)
    steps = len(plan.cases) * len(plan.dtypes_of(implementation))
    with held(options.out), ProgressDisplay(steps) as display:
        capture(prepare((plan,)), implementation, display, WORKER, again=again)
    return options.out / "traces" / implementation


def compare_folders(
    old: Path | str,
    new: Path | str,
    out: Path | str,
    *,
    oracle: Path | str | None = None,
) -> Result:
    """What ``mmparity compare`` does of two folders of traces.

    Raises:
        MmparityError: the traces are not of the same weights, pixels, dtype and depth.
    """
    from mmparity.run.folders import compare_folders as compare

    folder = Path(out)
    with held(folder):
        against = Path(oracle) if oracle is not None else None
        return Result(compare(Path(old), Path(new), against, folder), folder)
