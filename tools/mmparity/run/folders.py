# SPDX-License-Identifier: Apache-2.0
"""``mmparity compare``: traces that are already there, from here or elsewhere."""

from __future__ import annotations

import shlex
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mmparity.capture.dumps.forward import DumpedTower, calls_of, depth_of, dtype_of
from mmparity.capture.dumps.identity import pixels_of, weights_of
from mmparity.capture.dumps.readers import TOOLS, open_dump, tool_of
from mmparity.capture.dumps.to_trace import write_trace
from mmparity.compare.case import compare_traces, qualified
from mmparity.compare.result import build_result, remove_result, write_result
from mmparity.errors import MmparityError
from mmparity.provenance import of_run, with_traces
from mmparity.run.plan import ORACLE_DTYPE
from mmparity.trace.folder import Traces, find_traces
from mmparity.trace.manifest import LEFT_OUT
from mmparity.trace.reader import TraceReader
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.trace import ASSUMED, UNKNOWN, TraceMeta
from mmparity.workload.implementations import get
from mmparity.workload.inputs import read_inputs
from mmparity.workload.models import DEFAULT_MODEL


@dataclass(frozen=True)
class DumpOptions:
    """What the user says of dumps of other tools, which say little of themselves.

    Attributes:
        old_impl: the implementation that OLD is a dump of.
        new_impl: and NEW.
        model: whose vision tower it is; not needed with a checkpoint.
        checkpoint: folder of the weights that were loaded.
        inputs: file with the pixels, as ``capture`` writes it.
        case: name of the case; else that of the other side, if it has one alone.
        forward: which of several forwards in a dump.
        assume_same: the user vouches for what cannot be shown.
    """

    old_impl: str | None = None
    new_impl: str | None = None
    model: str | None = None
    checkpoint: Path | None = None
    inputs: Path | None = None
    case: str | None = None
    forward: int = 0
    assume_same: bool = False


def compare_folders(
    old: Path,
    new: Path,
    oracle: Path | None,
    out: Path,
    options: DumpOptions | None = None,
) -> ComparisonResult:
    """Compares every (case, dtype) of two folders; both must have the same ones."""
    started = time.monotonic()
    oracles = find_traces(oracle) if oracle else {}
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=_beside(out)) as name:
        olds, news = _both_sides(old, new, Path(name), options or DumpOptions())
        remove_result(out)
        cases = _compare(olds, news, oracles, (old, new, oracle, out))
    result = build_result(cases, with_traces(of_run(started, {}), cases))
    write_result(result, out)
    return result


def _beside(out: Path) -> Path:
    """The folder that ``out`` will be in: traces made of dumps need as much disk."""
    return next(folder for folder in out.resolve().parents if folder.is_dir())


def _compare(
    olds: Traces,
    news: Traces,
    oracles: Traces,
    given: tuple[Path, Path, Path | None, Path],
) -> list[CaseComparison]:
    old, new, oracle, out = given
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
        description = _partial(olds[key], news[key])
        compared = compare_traces(
            olds[key], news[key], reference, description=description, repeat=repeat
        )
        cases.append(qualified(compared))
    return cases


def _partial(*traces: TraceReader) -> str:
    """What a comparison is of, where a capture left something out."""
    noted = [item for trace in traces for item in trace.unmatched]
    left = [item.path for item in noted if item.reason == LEFT_OUT]
    return f"A part of the encoder only: {left[0]} were left out." if left else ""


def _both_sides(
    old: Path, new: Path, scratch: Path, options: DumpOptions
) -> tuple[Traces, Traces]:
    """The traces of both folders; those of dumps are written to ``scratch``."""
    names = {"old": options.old_impl, "new": options.new_impl}
    folders = {"old": old, "new": new}
    dumps = {side: tool_of(folder) for side, folder in folders.items()}
    for side, name in names.items():
        if (dumps[side] is None) != (name is None):
            raise MmparityError(
                f"{folders[side]} is a dump of {dumps[side]}: --{side}-impl says of "
                "which implementation (mmparity list implementations)."
                if dumps[side]
                else f"--{side}-impl is for a dump of {TOOLS}; {folders[side]} is none."
            )
    found = {
        side: find_traces(folder) for side, folder in folders.items() if not dumps[side]
    }
    cases = {key[0] for traces in found.values() for key in traces}
    case = options.case or (next(iter(cases)) if len(cases) == 1 else "dump")
    for side, name in names.items():
        if name is not None:
            trace = _of_dump(folders[side], name, case, scratch / side, options)
            found[side] = {(trace.meta.case, trace.meta.dtype): trace}
    return found["old"], found["new"]


def _of_dump(
    folder: Path, name: str, case: str, out: Path, options: DumpOptions
) -> TraceReader:
    """The trace that a dump makes, with what can be shown or is assumed of it."""
    from mmparity.workload.seeded import vision_config
    from mmparity.workload.tower_config import read_vision_config, with_depth

    dump = open_dump(folder)
    config = (
        read_vision_config(options.checkpoint)
        if options.checkpoint
        else vision_config(options.model or DEFAULT_MODEL)
    )
    subject = DumpedTower(get(name), config, options.forward)
    calls = calls_of(dump, subject)
    config = with_depth(config, depth_of(dump, calls))
    inputs = read_inputs(options.inputs) if options.inputs else None
    weights = weights_of(dump, calls, options.checkpoint, config)
    pixels = pixels_of(dump, calls, inputs)
    doubt = ASSUMED if options.assume_same else UNKNOWN
    meta = TraceMeta(
        implementation=name,
        case=case,
        dtype=dtype_of(dump, calls),
        device="of a dump",
        weights_digest=weights or doubt,
        pixels_digest=pixels or doubt,
        grid_thw=inputs.grid_thw if inputs else (),
        depth=config.depth,
        model=options.model or "",
    )
    write_trace(dump, replace(subject, config=config), meta, out)
    return TraceReader(out)
