# SPDX-License-Identifier: Apache-2.0
"""Stands in for mmparity.capture.worker: a real process, real events, ready traces.

What it does wrong is asked for by the name of the implementation. It starts
without torch, so that a run of many workers takes no time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from mmparity.capture.job import GO, CaptureJob, Event, Job


def say(event: Event) -> None:
    sys.stdout.write(replace(event, at=time.monotonic()).to_line() + "\n")
    sys.stdout.flush()


def copy_trace(implementation: str, item: CaptureJob) -> None:
    other = implementation in ("differs", "ungraftable") or item.kernels == "other"
    differs = other and item.case == "ragged"
    kind = "differs" if differs else "same"
    ready = Path(os.environ["FAKE_WORKER_TRACES"]) / kind / f"{item.case}-{item.dtype}"
    shutil.copytree(ready, item.out)
    manifest = Path(item.out) / "trace.json"
    content = json.loads(manifest.read_text())
    content["meta"]["implementation"] = implementation
    if "FAKE_WORKER_META" in os.environ:
        content["meta"].update(said_of(item))
    manifest.write_text(json.dumps(content))


def said_of(item: CaptureJob) -> dict[str, Any]:
    """What a real worker says of its trees, pixels and versions."""
    with Path(item.inputs).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    pixels = json.loads(header["__metadata__"]["mmparity"])
    trees = {name: tree_id(tree) for name, tree in JOB.trees.items()}
    counts = {"dispatches": 1, "host_reads": 0, "pads": 0, "concatenations": 0}
    return {
        **json.loads(os.environ["FAKE_WORKER_META"]),
        "pixels_digest": pixels["pixels_digest"],
        "grid_thw": pixels["grid_thw"],
        "sources": trees,
        "counts": {**counts, "peak_bytes": 1} if item.counted else None,
    }


def tree_id(tree: str) -> str:
    def git(*words: str) -> str:
        return subprocess.check_output(["git", "-C", tree, *words], text=True).strip()

    changed = git("status", "--porcelain")
    return git("rev-parse", "HEAD^{tree}") + ("-modified" if changed else "")


def misbehave(job: Job) -> None:
    if job.implementation == "refuses":
        say(Event("error", kind="input", message="the tree has no encoder"))
        sys.exit(2)
    if job.implementation == "crashes":
        raise RuntimeError("planted crash")
    if job.implementation == "dies":
        os.kill(os.getpid(), 9)
    if job.implementation == "quits":
        sys.exit(0)
    if job.implementation == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["FAKE_WORKER_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        say(Event("capturing", "image", "float32"))
        time.sleep(600)


def main() -> None:
    job = JOB
    sys.stdout.write("a line that is no event\n")
    sys.stderr.write(f"log of {job.implementation}\n")
    say(Event("loading"))
    say(Event("imported", seconds=0.25))
    if sys.stdin.readline() != GO:
        return
    misbehave(job)
    if job.implementation == "ungraftable" and job.captures[0].graft:
        raise RuntimeError("planted: no graft")
    say(Event("loaded", seconds=0.1, peak_memory_bytes=1000))
    for item in job.captures:
        if job.implementation == "fragile" and item.case == "ragged":
            os.kill(os.getpid(), 9)
        if job.implementation == "kills" and item.case == "ragged":
            # Between them is the process that ties them.
            psutil.Process().parent().parent().kill()
            sys.exit(1)
        copy_trace(job.implementation, item)
        say(Event("captured", item.case, item.dtype, 0.1, 2000))
    say(Event("done"))


if __name__ == "__main__":
    JOB = Job.read(Path(sys.argv[1]))
    main()
