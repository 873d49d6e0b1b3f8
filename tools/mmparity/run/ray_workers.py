# SPDX-License-Identifier: Apache-2.0
"""``mmparity run --ray``: captures spread over a Ray cluster, compared here.

One task for each case and implementation. A task runs the same worker process as a
local run and hands back what it said, its log, and its traces: in the run's own
folder where the node sees it, else through Ray's object store.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmparity.capture.job import Job
from mmparity.errors import MmparityError
from mmparity.processes import TOOLS, Command, Starter
from mmparity.run.prepare import Subject
from mmparity.run.ray_part import NodeTask, TaskResult, run_part
from mmparity.run.settings import other_than_here
from mmparity.run.workers import RunState, Watcher, job_of
from mmparity.workload.implementations import ENCODERS

LOCAL = "local"
INSTALL = "make setup EXTRA=machines"
EXTRA = Path(sys.prefix) / "extras" / "machines"
STORE_BYTES = 512 << 20
"""Of a local Ray: its tasks see the run's folder and hand back no traces."""
LOCAL_ATTEMPTS = 4
CARRIED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", ENCODERS)
"""Ray sets the first to a task's CPUs; here it is what it is in this process."""


def _same_folder(token: Path, secret: str) -> None:
    """Leaves what a node finds only if it sees this very folder."""
    token.write_text(secret)


class Cluster:
    """A connected Ray; its ``workers`` take the place of local ones."""

    def __init__(self, ray: Any, command: Command | None = None) -> None:
        self.ray = ray
        self.command = command

    def workers(
        self,
        batch: Sequence[Subject],
        number: int,
        starter: Starter,
        adapt: Callable[[Job], Job] = lambda job: job,
    ) -> RayWorkers:
        """The crew of a batch, as CrewMaker says."""
        return RayWorkers(self, batch, number, adapt)


@contextmanager
def connected(address: str, command: Command | None = None) -> Iterator[Cluster]:
    """Connects to the cluster at ``address``, or starts one for ``local``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if EXTRA.is_dir() and str(EXTRA) not in sys.path:
        sys.path.append(str(EXTRA))
    try:
        import ray
    except ImportError as error:
        raise MmparityError(
            f"--ray {address}: Ray is not installed ({error}). Install it: `{INSTALL}`."
        ) from error
    with _python_path() as path:
        _start(ray, address, path)
    try:
        yield Cluster(ray, command)
    finally:
        ray.shutdown()


def _start(ray: Any, address: str, path: str) -> None:
    """Connects; a Ray of a busy machine may need longer to start than it waits."""
    options: dict[str, object] = {"address": address}
    if address == LOCAL:
        options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    for left in reversed(range(LOCAL_ATTEMPTS if address == LOCAL else 1)):
        try:
            ray.init(
                **options,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
            return
        except Exception as error:
            ray.shutdown()
            if left:
                continue
            text = str(error).strip().split("\n", 1)[0]
            hint = "`ray start --head` starts a cluster; `--ray local` needs none."
            raise MmparityError(
                f"--ray {address}: no Ray there: {type(error).__name__}: {text} "
                + ("Is the machine busy?" if address == LOCAL else hint)
            ) from error


@contextmanager
def _python_path() -> Iterator[str]:
    """What tasks find packages by; a Ray that is started here finds itself by it."""
    before = os.environ.get("PYTHONPATH")
    given = (before or "").split(os.pathsep)
    path = os.pathsep.join(
        filter(None, dict.fromkeys([str(TOOLS), *given, str(EXTRA)]))
    )
    os.environ["PYTHONPATH"] = path
    try:
        yield path
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


class RayWorkers:
    """The tasks of a batch. A task that fails breaks its own case and no other."""

    def __init__(
        self,
        cluster: Cluster,
        batch: Sequence[Subject],
        number: int,
        adapt: Callable[[Job], Job],
    ) -> None:
        self.cluster, self.batch, self.number = cluster, batch, number
        self.adapt = adapt
        out = batch[0].plan.options.out
        self.secret = secrets.token_hex()
        self.token = (out / f".ray-{self.secret[:16]}").resolve()
        self.logs = out / "logs"

    def __enter__(self) -> RayWorkers:
        options = self.batch[0].plan.options
        needed = resources(options.device, options.tp, options.threads)
        check_room(self.cluster.ray.nodes(), needed)
        self.token.parent.mkdir(parents=True, exist_ok=True)
        _same_folder(self.token, self.secret)
        return self

    def __exit__(self, *_: object) -> None:
        self.token.unlink(missing_ok=True)

    def capture_all(
        self, names: Sequence[str], state: RunState, watcher: Watcher
    ) -> None:
        """Captures what of ``names`` was not captured before, all at the same time."""
        ray = self.cluster.ray
        waiting: dict[Any, tuple[str, Job]] = {}
        for name in dict.fromkeys(names):
            if name not in state.captured:
                job = self.adapt(job_of(self.batch, self.number, name)[0])
                for case, part in _parts(job):
                    waiting[self._submit(part)] = case, part
                state.captured.add(name)
        try:
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                case, part = waiting.pop(done)
                state.clock.lap("capture")
                self._finish(case, part, self._outcome(done), state, watcher)
        finally:
            for left in waiting:
                ray.cancel(left, force=True)

    def _submit(self, job: Job) -> Any:
        paths = {item.inputs for item in job.captures}
        part = NodeTask(
            job=job,
            inputs={path: Path(path).read_bytes() for path in paths},
            token=str(self.token),
            secret=self.secret,
            environment={name: os.environ.get(name) for name in CARRIED},
            command=self.cluster.command,
        )
        needed = resources(job.device, job.tp, job.threads)
        remote = self.cluster.ray.remote(max_retries=0, **needed)(run_part)
        return remote.remote(part)

    def _outcome(self, done: Any) -> TaskResult:
        try:
            outcome: TaskResult = self.cluster.ray.get(done)
            return outcome
        except self.cluster.ray.exceptions.RayError as error:
            text = " ".join(str(error).split())[:500]
            return TaskResult(
                error=f"its Ray task ended: {type(error).__name__}: {text}"
            )

    def _finish(
        self,
        case: str,
        job: Job,
        outcome: TaskResult,
        state: RunState,
        watcher: Watcher,
    ) -> None:
        name = job.implementation
        log = self.logs / f"{name}-{case.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(outcome.log or (outcome.error or ""))
        for file, content in outcome.files.items():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(content)
        for event in outcome.events:
            if event.event == "captured":
                assert outcome.settings is not None, "its task has run"
                there = other_than_here(outcome.settings, job)
                event = replace(event, elsewhere=there)
            state.heard(name, event)
            watcher.event(name, event)
        spent = state.seconds.get(name, 0.0) + outcome.seconds
        state.seconds[name] = spent
        if outcome.error is not None:
            message = f"{name}, case {case}: {outcome.error}\nIts log: {log}"
            state.broken_cases[name, case] = message
            state.errors.append(message)
            watcher.failed(message)


def _parts(job: Job) -> Iterator[tuple[str, Job]]:
    """The captures of each case, as a job of their own."""
    for case in dict.fromkeys(item.case for item in job.captures):
        captures = tuple(item for item in job.captures if item.case == case)
        checkpoint = captures[0].checkpoint or job.checkpoint
        yield case, replace(job, captures=captures, checkpoint=checkpoint)


def check_room(nodes: Iterable[Mapping[str, Any]], needed: Mapping[str, Any]) -> None:
    """Refuses tasks that no node can ever run: Ray would let them wait for good."""
    wanted = {
        "CPU": needed["num_cpus"],
        "GPU": needed.get("num_gpus", 0),
        **needed.get("resources", {}),
    }
    rooms = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(
        all(room.get(name, 0) >= count for name, count in wanted.items())
        for room in rooms
    ):
        text = ", ".join(f"{count} {name}" for name, count in wanted.items() if count)
        raise MmparityError(
            f"--ray: no node has {text}, which one task needs. Give fewer --tp or "
            "--threads, or start a node with them (docs/running-on-ray.md)."
        )


def resources(device: str, tp: int, threads: int | None) -> dict[str, Any]:
    """What Ray is to keep for a task."""
    if device == "cuda":
        return {"num_cpus": 1, "num_gpus": tp}
    if device == "npu":
        return {"num_cpus": 1, "resources": {"NPU": tp}}
    return {"num_cpus": (threads or 1) * tp}
