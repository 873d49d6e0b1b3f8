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
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmparity.project import ROOT
from mmparity.types.comparison import CaseComparison
from mmparity.types.provenance import Machine, Provenance, Source

WRITING_ROOMS = ("capture", "encoders", "trace", "workload")
"""What builds an encoder, runs it, and names and writes its tensors."""


def machine() -> Machine:
    """What this process runs on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        processor=_processor(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=pages,
    )


def of_run(started: float, trees: Mapping[str, Mapping[str, str]]) -> Provenance:
    """Of a run of these trees that began at ``time.monotonic() == started``."""
    return Provenance(
        created=now(),
        command=command(),
        seconds=round(time.monotonic() - started, 1),
        peak_memory_bytes=own_peak_memory(),
        machine=machine(),
        sources=sources(ROOT, trees),
    )


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
        files = [*(package / room).rglob("*.py"), *(package / room).rglob("*.toml")]
        for file in sorted(files):
            digest.update(f"{file.relative_to(package)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def sources(root: Path, trees: Mapping[str, Mapping[str, str]]) -> dict[str, Source]:
    """Each tree that was used: its pin, and the patches of its series.

    A tree given with ``--tree`` has neither; what ran is in the traces' git tree ids.
    """
    pins = _pins(root / "vllm_src" / "sources.toml")
    found: dict[str, Source] = {}
    for folders in trees.values():
        for folder in folders.values():
            path = Path(folder)
            try:
                name = path.relative_to(root / "vllm_src").as_posix()
            except ValueError:
                found[path.name] = Source(given=True)
                continue
            pin = pins.get(path.name, Source())
            if name.startswith("patched/"):
                pin = replace(pin, patches=_series(root / "patches" / path.name))
            found[name] = pin
    return dict(sorted(found.items()))


def with_traces(of: Provenance, cases: Iterable[CaseComparison]) -> Provenance:
    """With versions, tree ids and emulated operators as the captures recorded them."""
    versions: dict[str, dict[str, str]] = {}
    trees: dict[str, dict[str, str]] = {}
    emulated: dict[str, tuple[str, ...]] = {}
    metas = [meta for case in cases for meta in (case.old_meta, case.new_meta) if meta]
    for meta in metas:
        versions[meta.implementation] = dict(meta.versions)
        trees[meta.implementation] = dict(meta.sources)
        if meta.emulated:
            emulated[meta.implementation] = meta.emulated
    common, environments = _shared(versions)
    return replace(
        of,
        versions=common,
        environments=environments,
        trees=trees,
        emulated=emulated,
    )


def _shared(
    found: dict[str, dict[str, str]],
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The versions of most implementations, and what others have otherwise."""
    every = list(found.values())
    common = max(every, key=every.count, default={})
    return common, {
        name: {package: v for package, v in one.items() if common.get(package) != v}
        for name, one in found.items()
        if one != common
    }


def _pins(file: Path) -> dict[str, Source]:
    if not file.is_file():
        return {}
    pins = {}
    for source in _toml().loads(file.read_text()).get("source", []):
        pin = Source(source["version"])
        archives = source.get("archive", [])
        if len(archives) == 1:
            first = archives[0]
            pin = replace(pin, sha256=first.get("sha256"), tree=first.get("tree"))
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
