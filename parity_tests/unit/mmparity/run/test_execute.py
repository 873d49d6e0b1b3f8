# SPDX-License-Identifier: Apache-2.0
"""Whole runs with worker processes that misbehave in known ways."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmparity import cli
from mmparity.capture.job import Event
from mmparity.compare.result import read_result
from mmparity.errors import MmparityError
from mmparity.processes import Command
from mmparity.report import FILES, PAGES, render
from mmparity.run import plan as plan_module
from mmparity.run import planning, ray_workers
from mmparity.run.execute import execute, with_pages
from mmparity.run.noise import measures
from mmparity.run.plan import Options, Plan
from mmparity.run.planning import make_plan
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.workload import implementations
from mmparity.workload.cases import Case, Noise

pytestmark = pytest.mark.usefixtures("ready_traces")
COMMAND = Command((sys.executable, str(Path(__file__).parents[1] / "fake_worker.py")))
NAMES = (
    *("good", "new", "differs", "refuses", "crashes", "dies", "quits", "hangs"),
    *("fragile", "kills"),
)
NAMES += ("ungraftable",)
HF = implementations.IMPLEMENTATIONS["hf"]
IMPLEMENTATIONS = {name: replace(HF, name=name, oracle=False) for name in NAMES}
IMPLEMENTATIONS["hf"] = HF


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.cases: list[CaseComparison] = []
        self.failures: list[str] = []

    def event(self, implementation: str, event: Event) -> None:
        self.events.append((implementation, event.event))

    def compared(self, case: CaseComparison, seconds: float) -> None:
        self.cases.append(case)

    def failed(self, message: str) -> None:
        self.failures.append(message)


def make(checkpoint: Path, old: str = "good", new: str = "new", **given: Any) -> Plan:
    given = {"cases": ("image", "ragged"), "dtypes": ("float32",), **given}
    given = {"expect": "identical", **given}  # no side is captured twice for its noise
    options = Options(
        out=checkpoint.parent / "out", old=old, new=new, checkpoint=checkpoint, **given
    )
    return make_plan(options, IMPLEMENTATIONS)


def test_same_implementations_pass_and_leave_no_traces(checkpoint: Path) -> None:
    plan, watcher = make(checkpoint), Recorder()
    result = execute((plan,), watcher, COMMAND)
    out = plan.options.out
    assert result.verdict == "pass"
    assert result.summary.passed == result.summary.total == 22
    assert read_result(out) == result
    assert not (out / "traces").exists()
    assert "log of good" in (out / "logs" / "good.log").read_text()
    finished = [name for name, event in watcher.events if event == "done"]
    assert finished == ["hf", "new", "good"]
    assert result.provenance.peak_memory_by_process["good"] == 2000
    assert result.cases[0].repeat == (
        "mmparity run --old good --new new --case image --dtype float32 "
        f"--expect identical --checkpoint {checkpoint}"
    )


def test_every_second_of_a_run_belongs_to_a_stage(checkpoint: Path) -> None:
    plan = make(checkpoint)
    started = time.monotonic()
    result = execute((plan,), Recorder(), COMMAND)
    spent = time.monotonic() - started
    assert result.stages is not None
    seconds = result.stages.seconds
    names = ["prepare", "import", "build", "oracle", "capture", "compare", "report"]
    assert [name for name in names if name not in seconds] in ([], ["build"])
    assert sum(seconds.values()) == pytest.approx(spent, abs=0.3)
    assert list(result.stages.workers) == ["hf", "new", "good"]
    assert result.stages.workers["good"].importing == 0.25
    assert result.stages.workers["good"].capturing > 0


def test_pages_say_how_long_they_took_and_are_those_of_the_result(
    checkpoint: Path,
) -> None:
    plan = make(checkpoint)
    out = plan.options.out
    first = execute((plan,), Recorder(), COMMAND)
    started = time.monotonic()
    result, page = with_pages(first, out)
    spent = time.monotonic() - started
    assert first.stages is not None and result.stages is not None
    took = result.stages.seconds["report"] - first.stages.seconds["report"]
    assert 0 < took <= spent + 0.01
    assert read_result(out) == result
    for name, text in render(result, PAGES).items():
        assert (out / FILES[name]).read_text() == text
    assert page == out / FILES["html"]


def test_a_second_run_in_a_folder_says_what_became_of_the_first(
    checkpoint: Path,
) -> None:
    first = execute((make(checkpoint),), Recorder(), COMMAND)
    again = execute((make(checkpoint),), Recorder(), COMMAND)
    assert first.since is None and again.since is not None
    assert (again.since.created, again.since.rows) == (first.provenance.created, 22)
    assert (again.since.moved, again.since.changed) == (0, ())


def test_difference_is_found_in_its_case_only(checkpoint: Path) -> None:
    result = execute((make(checkpoint, new="differs"),), Recorder(), COMMAND)
    assert result.verdict == "fail"
    assert [case.verdict for case in result.cases] == ["pass", "fail"]
    assert result.first_divergence is not None
    assert result.first_divergence.case == "ragged/float32/good:differs"
    assert result.first_divergence.hook_point == "patch_embed"
    assert result.first_divergence.worst_index == (3, 5)


def test_a_failing_case_alone_is_run_once_more_fed_with_old(checkpoint: Path) -> None:
    plan = make(checkpoint, new="differs")
    result = execute((plan,), Recorder(), COMMAND)
    passing, failing = result.cases
    assert not any(layer.grafted for layer in passing.layers)
    assert all(layer.grafted for layer in failing.layers)
    assert [fault.hook_point for fault in failing.faults] == ["patch_embed"]
    assert "1 differ by themselves: patch_embed" in failing.reason
    assert read_result(plan.options.out) == result
    job = json.loads((plan.options.out / "jobs/good-differs-grafted.json").read_text())
    fed = {
        Path(item["graft"]).relative_to(plan.options.out) for item in job["captures"]
    }
    assert fed == {Path("traces/good/ragged-float32")}
    assert not list((plan.options.out / "grafted").rglob("trace.json"))


@pytest.mark.parametrize(("graft", "grafted"), [("all", 2), ("none", 0)])
def test_cases_to_graft_can_be_chosen(
    checkpoint: Path, graft: str, grafted: int
) -> None:
    plan = make(checkpoint, graft=graft, keep_traces=True)
    result = execute((plan,), Recorder(), COMMAND)
    assert result.verdict == "pass"
    rows = [case.layers[0].grafted for case in result.cases]
    assert sum(row is not None for row in rows) == grafted
    assert len(list((plan.options.out / "grafted").rglob("trace.json"))) == grafted


def test_a_graft_that_fails_leaves_the_verdict_and_is_said(checkpoint: Path) -> None:
    watcher = Recorder()
    result = execute((make(checkpoint, new="ungraftable"),), watcher, COMMAND)
    assert result.verdict == "fail"
    assert result.cases[1].layers[0].grafted is None
    (error,) = result.provenance.errors
    assert error.startswith("no grafted rows of ungraftable: ")
    assert "planted: no graft" in error
    assert watcher.failures == [error]


def test_traces_are_kept_when_asked(checkpoint: Path) -> None:
    plan = make(checkpoint, keep_traces=True, cases=("ragged",))
    execute((plan,), Recorder(), COMMAND)
    kept = (plan.options.out / "traces").rglob("trace.json")
    assert sorted(file.parent.parent.name for file in kept) == ["good", "hf", "new"]


def test_noise_is_measured_on_the_smallest_case_where_bits_may_differ(
    checkpoint: Path,
) -> None:
    plan = make(checkpoint, keep_traces=True, expect="floor")
    result = execute((plan,), Recorder(), COMMAND)
    kept = {file.parent.name for file in plan.options.out.rglob("good/*/trace.json")}
    assert kept == {"image-float32", "ragged-float32", "ragged-float32.kernels"}
    for case in result.cases:
        judged = {row.hook_point for row in case.layers if not row.tolerance.exact}
        assert {row.hook_point for row in case.layers if row.noise} == judged


def test_noise_is_not_measured_on_what_eager_attention_has_no_memory_for(
    checkpoint: Path,
) -> None:
    plan = make(checkpoint, expect="floor")
    for grid, measured in (((1, 64, 64), True), ((1, 64, 66), False)):
        large = Case("large", "made up", (Noise(grid, 0),))
        assert measures(replace(plan, cases=(large,)), "good") is measured


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("refuses", "refuses could not run: the tree has no encoder"),
        ("crashes", "planted crash"),
        ("dies", "dies was ended by SIGKILL"),
        ("quits", "quits ended after 'imported' with exit status 0"),
    ],
)
def test_broken_worker_makes_its_cases_errors(
    checkpoint: Path, broken: str, message: str
) -> None:
    watcher = Recorder()
    result = execute((make(checkpoint, new=broken),), watcher, COMMAND)
    assert result.verdict == "error"
    assert [case.verdict for case in result.cases] == ["error", "error"]
    assert broken in result.cases[0].reason
    assert message in watcher.failures[0]
    assert f"{broken}.log" in watcher.failures[0]
    assert result.provenance.errors[0].startswith(f"{broken}: ")
    assert read_result(checkpoint.parent / "out").verdict == "error"


def test_other_pairs_still_run(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = (("crashes", "new"), ("good", "new"))
    monkeypatch.setattr(planning, "DEFAULT_PAIRS", pairs)
    plan = make(checkpoint, old=None, new=None, cases=("ragged",))  # type: ignore[arg-type]
    result = execute((plan,), Recorder(), COMMAND)
    assert [case.verdict for case in result.cases] == ["error", "pass"]
    assert result.verdict == "error"


def test_stale_result_does_not_survive_a_run_that_cannot_start(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make(checkpoint)
    plan.options.out.mkdir()
    (plan.options.out / "comparison.json").write_text("{}")
    monkeypatch.setattr(plan_module, "BYTES_PER_PATCH_AND_BLOCK", 1e15)
    with pytest.raises(MmparityError, match="GiB free"):
        execute((plan,), Recorder(), COMMAND)
    assert not (plan.options.out / "comparison.json").exists()


def test_nothing_of_an_earlier_run_looks_current_while_one_runs(
    checkpoint: Path,
) -> None:
    out = checkpoint.parent / "out"
    left = out / "traces" / "killed" / "image-float32"
    left.mkdir(parents=True)
    for name in ("comparison.json", "report.html", "report.md", "report.xml"):
        (out / name).write_text("{}")

    class Witness(Recorder):
        seen: frozenset[str] = frozenset()

        def event(self, implementation: str, event: Event) -> None:
            names = {f.name for f in out.iterdir() if not f.name.startswith(".")}
            self.seen |= names
            assert not left.exists()

    watcher = Witness()
    execute((make(checkpoint),), watcher, COMMAND)
    assert watcher.seen == {"inputs", "jobs", "logs", "traces"}


def test_interrupt_ends_the_workers_and_keeps_what_is_known(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = checkpoint.parent / "pids"
    monkeypatch.setenv("FAKE_WORKER_PIDS", str(pids))

    class Interrupter(Recorder):
        def event(self, implementation: str, event: Event) -> None:
            if event.event == "capturing":
                raise KeyboardInterrupt

    result = execute((make(checkpoint, old="hangs"),), Interrupter(), COMMAND)
    assert result.verdict == "error"
    assert {case.reason for case in result.cases} == {"the run was interrupted"}
    assert len(result.cases) == 2
    assert read_result(checkpoint.parent / "out") == result
    deadline = time.monotonic() + 5
    remaining = {int(pid) for pid in pids.read_text().split()}
    while remaining and time.monotonic() < deadline:
        remaining = {pid for pid in remaining if _runs(pid)}
    assert not remaining


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_ctrl_c_on_the_command_line_exits_2(checkpoint: Path) -> None:
    out, pids = checkpoint.parent / "out", checkpoint.parent / "pids"
    arguments = ["run", "--old", "hangs", "--new", "new", "--dtype", "float32"]
    arguments += [
        "--case",
        "ragged",
        "--checkpoint",
        str(checkpoint),
        "--out",
        str(out),
    ]
    tools = Path(planning.__file__).parents[2]
    here = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, str(here / "fake_mmparity.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(tools), "FAKE_WORKER_PIDS": str(pids)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def interrupt() -> None:
        while not pids.exists() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert read_result(out).verdict == "error"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ray_workers.Cluster]:
    """One local Ray for the tests below; it hands the environment of its start on."""
    if not (ray_workers.EXTRA.is_dir() or importlib.util.find_spec("ray")):
        pytest.skip(f"Ray is not installed: {ray_workers.INSTALL}")
    ready = tmp_path_factory.getbasetemp() / "ready"
    os.environ["FAKE_WORKER_TRACES"] = str(ready)  # the first test comes later
    with ray_workers.connected("local", COMMAND) as connected:
        yield connected


def judged(result: ComparisonResult) -> list[CaseComparison]:
    return sorted(result.cases, key=lambda case: case.id)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("new", ["new", "differs"])
def test_ray_gives_what_a_local_run_gives(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    cluster: ray_workers.Cluster,
    new: str,
    shared: bool,
) -> None:
    plan = make(checkpoint, new=new)
    local = execute((plan,), Recorder(), COMMAND)
    if not shared:  # the node sees another folder of that name
        monkeypatch.setattr(ray_workers, "_same_folder", lambda token, secret: None)
    watcher = Recorder()
    spread = execute((plan,), watcher, COMMAND, crew=cluster.workers)
    assert judged(spread) == judged(local)
    assert spread.verdict == {"new": "pass", "differs": "fail"}[new]
    assert len([event for _, event in watcher.events if event == "done"]) == 6
    assert "log of good" in (plan.options.out / "logs/good-ragged.log").read_text()
    assert not list(plan.options.out.glob(".ray-*"))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("fragile", "fragile was ended by SIGKILL"),
        ("kills", "its Ray task ended: WorkerCrashedError"),
    ],
)
def test_what_dies_on_ray_is_an_error_of_its_case_alone(
    checkpoint: Path, cluster: ray_workers.Cluster, broken: str, message: str
) -> None:
    watcher = Recorder()
    plan = make(checkpoint, new=broken)
    result = execute((plan,), watcher, COMMAND, crew=cluster.workers)
    verdicts = {case.name: case.verdict for case in result.cases}
    assert verdicts == {"image": "pass", "ragged": "error"}
    assert message in watcher.failures[0]
    assert f"{broken}-ragged.log" in watcher.failures[0]
    assert message in {case.name: case.reason for case in result.cases}["ragged"]
    assert (checkpoint.parent / f"out/logs/{broken}-ragged.log").read_text()


def test_without_ray_the_command_that_installs_it_is_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(ray_workers, "EXTRA", checkpoint / "absent")
    words = ["run", "--ray", "local", "--case", "ragged", "--out", "x", "--fast"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert f"Install it: `{ray_workers.INSTALL}`" in result.stderr
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("device", "tp", "missing"),
    [
        ("cpu", 2, ""),
        ("cpu", 4, "no node has 4 CPU"),
        ("cuda", 1, ""),
        ("cuda", 2, "no node has 1 CPU, 2 GPU"),
        ("npu", 1, "no node has 1 CPU, 1 NPU"),
    ],
)
def test_a_task_that_no_node_can_run_is_refused(
    device: str, tp: int, missing: str
) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "NPU": 8.0}},
    ]
    needed = ray_workers.resources(device, tp, None)
    if missing:
        with pytest.raises(MmparityError, match=missing):
            ray_workers.check_room(nodes, needed)
    else:
        ray_workers.check_room(nodes, needed)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", {"num_cpus": 6}),
        ("cuda", {"num_cpus": 1, "num_gpus": 2}),
        ("npu", {"num_cpus": 1, "resources": {"NPU": 2}}),
    ],
)
def test_a_task_asks_for_the_devices_of_its_ranks(
    device: str, expected: dict[str, Any]
) -> None:
    assert ray_workers.resources(device, tp=2, threads=3) == expected
