# SPDX-License-Identifier: Apache-2.0
"""``mmparity compare``: traces that are already there, from here or elsewhere."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from mmparity import provenance
from mmparity.compare import compare_traces
from mmparity.plan import ORACLE_DTYPE
from mmparity.result import build_result, write_result
from mmparity.tracefile import MANIFEST, TraceReader
from mmparity.types import CaseComparison, ComparisonResult, MmparityError

Key = tuple[str, str]


def compare_folders(
    old: Path, new: Path, oracle: Path | None, out: Path
) -> ComparisonResult:
    """Compares every (case, dtype) of two folders; both must have the same ones."""
    started = time.monotonic()
    olds, news = find_traces(old), find_traces(new)
    oracles = find_traces(oracle) if oracle else {}
    one_sided = sorted(set(olds) ^ set(news))
    if one_sided:
        names = ", ".join("-".join(key) for key in one_sided)
        raise MmparityError(
            f"only one of {old} and {new} has: {names}. Capture both with the same "
            "--case and --dtype."
        )
    words = ["mmparity", "compare", str(old), str(new)]
    words += ["--oracle", str(oracle)] if oracle else []
    cases = []
    for key in olds:
        reference = oracles.get((key[0], ORACLE_DTYPE))
        if oracle and reference is None:
            raise MmparityError(f"{oracle} has no {ORACLE_DTYPE} trace of {key[0]!r}.")
        repeat = shlex.join([*words, "--out", str(out)])
        cases.append(compare_traces(olds[key], news[key], reference, repeat=repeat))
    result = build_result(cases, _provenance(cases, started))
    write_result(result, out)
    return result


def find_traces(folder: Path) -> dict[Key, TraceReader]:
    """Every whole trace in a folder, by case and dtype."""
    found: dict[Key, TraceReader] = {}
    for manifest in sorted(Path(folder).rglob(MANIFEST)):
        trace = TraceReader(manifest.parent)
        key = trace.meta.case, trace.meta.dtype
        if key in found:
            raise MmparityError(
                f"{folder} has two traces of {key[0]} in {key[1]}: "
                f"{found[key].directory} and {trace.directory}. Name one of them."
            )
        found[key] = trace
    if not found:
        raise MmparityError(
            f"{folder} has no whole trace ({MANIFEST}). "
            "Make one: `mmparity capture IMPL --out DIR`."
        )
    return found


def _provenance(cases: list[CaseComparison], started: float) -> dict[str, object]:
    metas = [meta for case in cases for meta in (case.old_meta, case.new_meta) if meta]
    return {
        "created": provenance.now(),
        "command": provenance.command(),
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_bytes": provenance.own_peak_memory(),
        "machine": provenance.machine(),
        "sources": {},
        **provenance.of_traces(metas),
        "errors": [],
    }
