# SPDX-License-Identifier: Apache-2.0
"""``mmparity run --cache``: only the same computation is taken, and only whole."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mmparity.capture import trace_meta
from mmparity.capture.job import Event, Job
from mmparity.compare.rejudge import rejudge
from mmparity.compare.result import read_result
from mmparity.errors import MmparityError
from mmparity.processes import Command
from mmparity.report import render, terminal_summary
from mmparity.run import ray_workers
from mmparity.run.cached_workers import TraceCache
from mmparity.run.execute import execute
from mmparity.run.plan import Options
from mmparity.run.planning import make_plan
from mmparity.run.trace_cache import Cache, CacheFull, digest_of
from mmparity.run.workers import CrewMaker, LocalCrew
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.workload import implementations

COMMAND = Command((sys.executable, str(Path(__file__).parents[1] / "fake_worker.py")))
HF = implementations.IMPLEMENTATIONS["hf"]
SIDE = replace(HF, oracle=False, trees={"vllm": "unused"})
IMPLEMENTATIONS = {
    name: replace(SIDE, name=name) for name in ("good", "new", "differs", "fragile")
}
IMPLEMENTATIONS["hf"] = HF


@dataclass
class Recorder:
    events: list[tuple[str, Event]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def event(self, implementation: str, event: Event) -> None:
        self.events.append((implementation, event))

    def compared(self, case: CaseComparison, seconds: float) -> None:
        pass

    def failed(self, message: str) -> None:
        self.failures.append(message)

    def count(self, kind: str) -> Counter[str]:
        return Counter(name for name, event in self.events if event.event == kind)


def git(tree: Path, *words: str) -> None:
    given = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
    subprocess.run(["git", "-C", str(tree), *given, *words], check=True)


class Project:
    """Two trees, a checkpoint and a cache."""

    def __init__(self, root: Path, checkpoint: Path) -> None:
        self.root, self.checkpoint = root, checkpoint
        self.cache = root / "cache"
        self.watcher = Recorder()
        self.crew: CrewMaker = LocalCrew
        for name in ("old-tree", "new-tree"):
            tree = root / name
            tree.mkdir()
            (tree / "vllm").mkdir()
            (tree / "vllm" / "__init__.py").touch()
            (tree / "encoder.py").write_text(name)
            git(tree, "init", "-q")
            git(tree, "add", ".")
            git(tree, "commit", "-q", "-m", name)

    def run(
        self, new: str = "new", watcher: Recorder | None = None, **given: Any
    ) -> ComparisonResult:
        given = {"cases": ("image", "ragged"), "cache": self.cache, **given}
        given = {"expect": "identical", **given}  # no noise is measured
        trees = {"good": "old-tree", new: "new-tree"}
        options = Options(
            out=self.root / "out",
            old="good",
            new=new,
            dtypes=("float32",),
            checkpoint=self.checkpoint,
            trees=tuple(f"{n}:vllm={self.root / t}" for n, t in trees.items()),
            **given,
        )
        self.watcher = watcher or Recorder()
        plan = make_plan(options, IMPLEMENTATIONS)
        return execute((plan,), self.watcher, COMMAND, crew=self.crew)

    @property
    def entries(self) -> list[Path]:
        return sorted(self.cache.glob("[0-9a-f]*"))

    def edit(self, text: str = "edited") -> None:
        (self.root / "new-tree" / "encoder.py").write_text(text)

    def commit(self) -> None:
        git(self.root / "new-tree", "commit", "-q", "-a", "-m", "edit")


@pytest.fixture
def project(
    tmp_path: Path,
    checkpoint: Path,
    ready_traces: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    monkeypatch.setattr(trace_meta, "remembered_digest", lambda path, config: "w")
    said = json.dumps({"weights_digest": "w", "versions": trace_meta.versions()})
    monkeypatch.setenv("FAKE_WORKER_META", said)
    return Project(tmp_path, checkpoint)


ALL = Counter({"hf": 2, "good": 2, "new": 2})


@pytest.mark.parametrize("depth", [None, 2])
def test_a_second_run_starts_no_worker_and_says_so(
    project: Project, depth: int | None
) -> None:
    first = project.run(depth=depth)  # at a depth, workers are started ahead
    assert first.verdict == "pass"
    assert project.watcher.count("captured") == ALL
    assert first.reuse is not None
    assert (first.reuse.traces, first.reuse.captured) == ((), 6)
    assert first.reuse.reasons["new: none in the cache yet"] == 2
    assert not (project.root / "out" / "traces").exists()

    shutil.rmtree(project.root / "out" / "jobs")
    second = project.run(depth=depth)
    assert second.cases == first.cases
    assert project.watcher.count("reused") == ALL
    assert not (project.root / "out" / "jobs").exists()
    assert second.reuse is not None
    assert (len(second.reuse.traces), second.reuse.captured) == (6, 0)
    assert {trace.digest for trace in second.reuse.traces} == {
        entry.name for entry in project.entries
    }
    assert second.reuse.cache_bytes == first.reuse.cache_bytes > 1000
    assert read_result(project.root / "out") == second
    assert rejudge(second).reuse == second.reuse


def test_every_report_says_what_was_reused(project: Project) -> None:
    first = project.run()
    result = project.run()
    assert result.reuse is not None
    said = f"6 of 6 traces, captured {result.reuse.traces[0].captured[:10]}"
    texts = render(result, ["html", "markdown", "text"])
    for text in (terminal_summary(result), *texts.values()):
        assert said in text
    for text in texts.values():
        assert result.reuse.traces[0].digest in text
    assert "reused:" not in terminal_summary(first)


def test_a_default_run_knows_of_no_cache(project: Project) -> None:
    result = project.run(cache=None)
    assert result.reuse is None
    assert "reused" not in render(result, ["text"])["text"]
    assert not project.cache.exists()


def test_an_edit_of_the_new_tree_runs_the_new_side_alone(project: Project) -> None:
    project.run()
    project.edit()
    assert project.run().verdict == "pass"
    assert project.watcher.count("captured") == Counter({"new": 2})
    assert project.watcher.count("reused") == Counter({"hf": 2, "good": 2})
    (note,) = (e.message for _, e in project.watcher.events if e.event == "noted")
    assert note == "2 to capture: vllm has changes that are not committed"
    assert len(project.entries) == 6  # it cannot be said of what it would be

    project.commit()
    project.run()
    assert project.watcher.count("captured") == Counter({"new": 2})
    (note,) = (e.message for _, e in project.watcher.events if e.event == "noted")
    assert note == "2 to capture: other sources: vllm"
    assert len(project.entries) == 8
    project.run()
    assert project.watcher.count("reused") == ALL


def test_a_tree_that_changes_while_it_runs_is_not_kept(project: Project) -> None:
    class Editor(Recorder):
        def event(self, implementation: str, event: Event) -> None:
            super().event(implementation, event)
            if (implementation, event.event) == ("new", "captured"):
                project.edit()

    project.run(watcher=Editor())
    assert len(project.entries) == 4


def _flip(entry: Path) -> None:
    file = entry / "00000.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _meta(entry: Path) -> None:
    content = json.loads((entry / "trace.json").read_text())
    content["meta"]["depth"] = 3
    (entry / "trace.json").write_text(json.dumps(content))


DAMAGE = {
    "flipped": _flip,
    "cut short": lambda entry: os.truncate(entry / "00001.safetensors", 20_000),
    "a file is missing": lambda entry: (entry / "00001.safetensors").unlink(),
    "no manifest": lambda entry: (entry / "trace.json").unlink(),
    "another trace": _meta,
    "unreadable key": lambda entry: (entry / "key.json").write_text("["),
    "another key": lambda entry: (entry / "key.json").write_text("{}"),
    "a link": lambda entry: (
        (entry / "trace.json").rename(entry / "elsewhere"),
        (entry / "trace.json").symlink_to("elsewhere"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_captured_again_and_replaced(
    project: Project, damage: Callable[[Path], object]
) -> None:
    first = project.run()
    (damaged,) = (
        entry
        for entry in project.entries
        if TraceReader(entry).meta.implementation == "good"
        and TraceReader(entry).meta.case == "image"
    )
    damage(damaged)
    assert project.run().cases == first.cases
    assert project.watcher.count("captured") == Counter({"good": 1})
    assert project.watcher.count("reused") == ALL - Counter({"good": 1})
    project.run()
    assert project.watcher.count("reused") == ALL
    assert not project.watcher.failures


def test_what_a_worker_captured_before_it_died_is_kept(project: Project) -> None:
    result = project.run("fragile")
    assert result.verdict == "error"
    project.run("fragile")
    assert project.watcher.count("reused")["fragile"] == 1
    assert result.reuse is not None
    assert result.reuse.captured == 3  # the oracle's, and one of new


def test_a_trace_is_kept_before_the_next_one_is_captured(project: Project) -> None:
    class Counter(Recorder):
        entries = 0

        def event(self, implementation: str, event: Event) -> None:
            super().event(implementation, event)
            if (event.event, event.case) == ("captured", "ragged"):
                self.entries = max(self.entries, len(project.entries))

    watcher = Counter()
    project.run(watcher=watcher)
    assert watcher.entries == 5  # a run that is killed now loses the sixth alone


def test_an_interruption_while_an_entry_is_made_leaves_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        assert project.run().verdict == "error"
    assert list(project.cache.iterdir()) == []
    assert project.run().verdict == "pass"


def test_what_a_killed_run_left_over_is_never_taken_and_goes(project: Project) -> None:
    project.run()
    entry = project.entries[0]
    left = project.cache / f".{entry.name}.{'0' * 16}"
    entry.rename(left)
    project.run()
    assert sum(project.watcher.count("captured").values()) == 1
    assert left.exists()  # another run may be making it
    hours_ago = time.time() - 7200
    os.utime(left, (hours_ago, hours_ago))
    project.run()
    assert not left.exists()


def test_a_full_disk_is_said_and_the_run_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copy2", full)
    assert project.run().verdict == "pass"
    (said,) = project.watcher.failures
    assert "takes no more traces: [Errno 28] No space left" in said
    assert list(project.cache.iterdir()) == []


def test_the_cache_leaves_the_run_its_room(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(project.root)
    seen = iter([10**9])  # when the run starts; less afterwards

    def disk_usage(path: Path) -> Any:
        return usage._replace(free=next(seen, 10**9 - 1))

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr("mmparity.run.prepare.peak_trace_bytes", lambda *_: 10**9)
    assert project.run().verdict == "pass"
    (said,) = project.watcher.failures
    assert "its disk has 0.9 GiB free, and the run may still need 0.9 GiB" in said
    assert project.entries == []


def test_files_are_copied_where_they_cannot_be_shared(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    project.run()
    assert project.run().verdict == "pass"
    assert project.watcher.count("reused") == ALL


def test_a_graft_is_made_again_and_never_kept(project: Project) -> None:
    first = project.run("differs")
    second = project.run("differs")
    assert second.verdict == first.verdict == "fail"
    assert second.cases == first.cases
    assert all(layer.grafted for layer in second.cases[1].layers)
    assert project.watcher.count("captured") == Counter()
    assert len(project.entries) == 6


@pytest.mark.parametrize(
    ("name", "value"), [("VLLM_ATTENTION_BACKEND", "other"), ("OMP_NUM_THREADS", "3")]
)
def test_other_variables_are_another_computation(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    project.run()
    monkeypatch.setenv(name, value)
    project.run()
    assert project.watcher.count("captured") == ALL
    text = "".join(str(entry.read_bytes()) for entry in project.cache.glob("*/key*"))
    assert name in text
    assert "'other'" not in text


def test_other_threads_and_configurations_are_other_computations(
    project: Project,
) -> None:
    project.run()
    project.run(threads=1)
    assert project.watcher.count("captured") == ALL
    notes = {e.message for _, e in project.watcher.events if e.event == "noted"}
    assert notes == {"2 to capture: other threads"}
    (project.checkpoint / "preprocessor_config.json").write_text("{}")
    project.run()
    assert project.watcher.count("captured") == ALL


def test_a_case_whose_calls_are_to_be_counted_has_counts(project: Project) -> None:
    project.run()
    counted = ("ragged",)  # the smaller one
    project.run(cases=("image",))
    assert project.watcher.count("reused") == Counter({"hf": 1})
    assert project.watcher.count("captured") == Counter({"good": 1, "new": 1})
    project.run(cases=counted)
    assert project.watcher.count("reused") == Counter({"hf": 1, "good": 1, "new": 1})


def test_code_of_a_users_file_is_not_known(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmparity.run.cached_workers.ADDED", {"new"})
    project.run()
    project.run()
    assert project.watcher.count("captured") == Counter({"new": 2})


@pytest.mark.parametrize(
    "given",
    [{"graft": "x"}, {"only": "x"}, {"statistics": "x"}],
    ids=lambda given: next(iter(given)),
)
def test_partial_captures_are_no_matter_for_a_cache(
    project: Project, given: dict[str, Any]
) -> None:
    project.run()
    job = Job.read(project.root / "out" / "jobs" / "good.json")
    options = Options(out=project.root / "out", cache=project.cache)
    assert not TraceCache(options).lookup(job).left
    partial = replace(job, captures=tuple(replace(i, **given) for i in job.captures))
    found = TraceCache(options).lookup(partial)
    assert (len(found.left), found.wanted) == (2, [])


def _trace(folder: Path, content: bytes = b"x" * 1000) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "00000.safetensors").write_bytes(content)
    (folder / "trace.json").write_text("{}")
    return folder


def _use(store: Cache, fields: dict[str, Any], out: Path) -> bool:
    return store.take(fields, out) is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    trace, out = _trace(tmp_path / "trace"), tmp_path / "out"
    first = Cache(tmp_path / "cache", 10_000)
    for number, name in enumerate("abc"):
        first.put({"name": name}, trace)
        used = time.time() - 100 + number
        os.utime(first.folder / digest_of({"name": name}) / "key.json", (used, used))
    limit = first.size() + 100
    second = Cache(tmp_path / "cache", limit)
    assert _use(second, {"name": "a"}, out)
    second.put({"name": "d"}, trace)
    third = Cache(tmp_path / "cache", limit)
    assert [_use(third, {"name": n}, out) for n in "abcd"] == [True, False, True, True]
    with pytest.raises(CacheFull, match="its limit"):
        third.put({"name": "e"}, trace)  # this run used all of the others
    assert third.size() <= limit


def test_runs_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    trace, fields = _trace(tmp_path / "trace"), {"name": "a"}
    problems: list[BaseException] = []

    def work(number: int) -> None:
        out = tmp_path / f"out{number}"
        try:
            store = Cache(tmp_path / "cache", 10**6)
            for _ in range(30):
                store.put(fields, trace)
                if store.take(fields, out) is not None:
                    assert (out / "trace.json").read_text() == "{}"
                    assert (out / "00000.safetensors").stat().st_size == 1000
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    names = [file.name for file in (tmp_path / "cache").iterdir()]
    assert names == [digest_of(fields)]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(MmparityError, match=r"holds thesis\.txt, .* no part of a"):
        Cache(tmp_path, 1)
    with pytest.raises(MmparityError, match=r"--cache .*thesis\.txt"):
        Cache(tmp_path / "thesis.txt", 1)


@pytest.fixture
def on_ray(project: Project) -> Iterator[Project]:
    """The project, captured by a real Ray of this machine."""
    if not (ray_workers.EXTRA.is_dir() or importlib.util.find_spec("ray")):
        pytest.skip(f"Ray is not installed: {ray_workers.INSTALL}")
    with ray_workers.connected("local", COMMAND) as cluster:
        project.crew = cluster.workers
        yield project


def test_a_cluster_keeps_what_it_captures_and_takes_what_a_machine_kept(
    on_ray: Project,
) -> None:
    first = on_ray.run()
    assert first.verdict == "pass"
    assert on_ray.watcher.failures == []
    assert on_ray.watcher.count("captured") == ALL
    assert len(on_ray.entries) == 6

    on_ray.edit()
    on_ray.commit()
    second = on_ray.run()
    assert on_ray.watcher.count("captured") == Counter({"new": 2})
    assert on_ray.watcher.count("reused") == Counter({"hf": 2, "good": 2})
    assert second.verdict == "pass"

    on_ray.crew = LocalCrew
    on_ray.run()
    assert on_ray.watcher.count("reused") == ALL


def test_what_a_node_unlike_this_machine_captures_is_compared_and_not_kept(
    on_ray: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_DYNAMIC", "here alone")
    result = on_ray.run()
    assert result.verdict == "pass"
    assert result.reuse is not None
    assert result.reuse.captured == 6
    assert on_ray.entries == []
    notes = [event.message for _, event in on_ray.watcher.events]
    assert "not kept, its node has other environment: OMP_DYNAMIC" in notes


def test_an_entry_is_a_trace_like_any_other(project: Project) -> None:
    project.run()
    assert {TraceReader(entry).meta.case for entry in project.entries} == {
        "image",
        "ragged",
    }
