# SPDX-License-Identifier: Apache-2.0
"""Where a result comes from: machine, versions, sources, patches. Reads files only."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import resource
import shlex
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmparity.types.trace import TraceMeta

WRITING_ROOMS = ("capture", "encoders", "trace", "workload")
"""What builds an encoder, runs it, and names and writes its tensors."""


def machine() -> dict[str, Any]:
    """What the run ran on, without anything that names the machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": pages,
    }


def now() -> str:
    """The time, in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def command() -> str:
    """The command line of this process, as a person types it."""
    return shlex.join(
        [Path(sys.argv[0]).name.replace("__main__.py", "mmparity"), *sys.argv[1:]]
    )


def own_peak_memory() -> int:
    """This process's largest resident size in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def own_code(package: Path = Path(__file__).parent) -> str:
    """A digest of the rooms that decide what a trace holds; reports decide nothing."""
    digest = hashlib.sha256()
    for room in WRITING_ROOMS:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def sources(root: Path, trees: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Each tree that was used: its pin, and the patches of its series.

    A tree given with ``--tree`` has neither; what ran is in the traces' git tree ids.
    """
    pins = _pins(root / "vllm_src" / "sources.toml")
    found: dict[str, Any] = {}
    for folders in trees.values():
        for folder in folders.values():
            path = Path(folder)
            try:
                name = path.relative_to(root / "vllm_src").as_posix()
            except ValueError:
                found[path.name] = {"given": True}
                continue
            entry = dict(pins.get(path.name, {}))
            if name.startswith("patched/"):
                entry["patches"] = _series(root / "patches" / path.name)
            found[name] = entry
    return dict(sorted(found.items()))


def of_traces(metas: Iterable[TraceMeta]) -> dict[str, Any]:
    """Versions, tree ids and emulated operators as the captures recorded them."""
    versions: dict[str, str] = {}
    trees: dict[str, dict[str, str]] = {}
    emulated: dict[str, list[str]] = {}
    for meta in metas:
        versions.update(meta.versions)
        trees[meta.implementation] = dict(meta.sources)
        if meta.emulated:
            emulated[meta.implementation] = list(meta.emulated)
    return {"versions": versions, "trees": trees, "emulated": emulated}


def _pins(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    pins = {}
    for source in _toml().loads(file.read_text()).get("source", []):
        pin = {"version": source["version"]}
        archives = source.get("archive", [])
        if len(archives) == 1:
            pin |= {key: archives[0].get(key) for key in ("sha256", "tree")}
        pins[f"{source['name']}-{source['version']}"] = pin
    return pins


def _toml() -> Any:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    return importlib.import_module(name)


def _series(directory: Path) -> dict[str, str]:
    """Patch file -> sha256, in the order of the series."""
    series = directory / "series"
    if not series.is_file():
        return {}
    names = [line.split("#")[0].strip() for line in series.read_text().splitlines()]
    return {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in names
        if name and (directory / name).is_file()
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
