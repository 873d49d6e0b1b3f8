# SPDX-License-Identifier: Apache-2.0
"""What the commands cost: `make bench`. Prints medians; changes nothing it finds.

Applying is held against bare `git am` of the same files on the same tree.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
REPEATS = 5
TARGET = 2.0
IDENTITY = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]


def timed(*command: str | Path, cwd: Path = ROOT) -> float:
    """Seconds that a command takes; a failing one ends the benchmark."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    words = [str(part) for part in command]
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"error: `{' '.join(words)}` failed:\n{done.stdout}{done.stderr}")
    return seconds


def patch_files(series: Path) -> list[Path]:
    """The patch files in the order of the series."""
    lines = [line.partition("#")[0].split() for line in series.read_text().splitlines()]
    return [series.parent / words[0] for words in lines if words]


def bench_series(series: Path, scratch: Path) -> dict[str, float]:
    """Seconds of apply, unapply and git am of one series on copies of its tree."""
    name = series.parent.name
    pristine = ROOT / "vllm_src" / name
    patches = patch_files(series)
    times: dict[str, list[float]] = {"apply": [], "unapply": [], "git am": []}
    for repeat in range(REPEATS):
        ours, stock = scratch / f"{name}-{repeat}-a", scratch / f"{name}-{repeat}-b"
        for copy in (ours, stock):
            timed("git", "clone", "--quiet", "--no-hardlinks", pristine, copy)
        am = ("git", *IDENTITY, "am", "--quiet", "--keep-non-patch", *patches)
        times["git am"].append(timed(*am, cwd=stock))
        for verb in ("apply", "unapply"):
            command = (BIN / "patchseries", verb, "--onto", ours, "--series", name)
            times[verb].append(timed(*command))
        for copy in (ours, stock):
            shutil.rmtree(copy)
    medians = {verb: statistics.median(seconds) for verb, seconds in times.items()}
    print(f"{name}, {len(patches)} patches")
    for verb, seconds in medians.items():
        factor = f"  {seconds / medians['git am']:.2f} times git am"
        print(f"  {verb:<8} {seconds:6.2f} s{factor if verb == 'apply' else ''}")
    return medians


def main() -> None:
    """Benchmark every series, then the commands that precede every other one."""
    found = sorted(ROOT.glob("patches/*/series"))
    if not found:
        sys.exit("error: no patches/*/series")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        every = [bench_series(series, Path(scratch)) for series in found]
    ours, stock = (sum(one[verb] for one in every) for verb in ("apply", "git am"))
    ratio = ours / stock
    print(f"all series: apply is {ratio:.2f} times git am (target: at most {TARGET:g})")
    setup = (sys.executable, ROOT / "tools/setup_venv.py")
    for label, command in (
        ("make setup, repeated", setup),
        ("patchseries status", (BIN / "patchseries", "status")),
        ("mmparity list cases", (BIN / "mmparity", "list", "cases")),
    ):
        seconds = statistics.median(timed(*command) for _ in range(REPEATS))
        print(f"{label:<22} {seconds:6.2f} s")


if __name__ == "__main__":
    main()
