# SPDX-License-Identifier: Apache-2.0
"""The result over all cases, and ``comparison.json``. No tensors, no rendering."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmparity.compare.descent import between, descent, first_failing
from mmparity.compare.evidence.replaced import replaced_code
from mmparity.compare.precision import precision_verdicts
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.report import FILES as REPORTS
from mmparity.stored_json import plain, printable, read_versioned, validated
from mmparity.types.comparison import (
    SCHEMA_VERSION,
    CaseComparison,
    ComparisonResult,
    FirstDivergence,
    Summary,
)
from mmparity.types.engine import ENGINE_SCHEMA_VERSION, EngineResult
from mmparity.types.provenance import Provenance
from mmparity.types.row import LayerComparison
from mmparity.types.verdict import Verdict, worst

FILE_NAME = "comparison.json"
ENGINE_FILE = "engine.json"


def build_result(
    cases: Sequence[CaseComparison], provenance: Provenance
) -> ComparisonResult:
    """Verdict, counts and first divergence of all cases."""
    ascend = any(case.new.startswith("unified-ascend") for case in cases)
    replaced, patches = replaced_code() if ascend else ((), ())
    empty = ComparisonResult("error", Summary(0, 0, 0, 0), None, (), provenance)
    return with_cases(replace(empty, replaced=replaced, patches=patches), cases)


def with_cases(
    result: ComparisonResult, cases: Sequence[CaseComparison]
) -> ComparisonResult:
    """The result with other cases and all that follows from them; the rest is kept."""
    return replace(
        result,
        verdict=_verdict(cases, result.engine),
        summary=summarise(cases),
        first_divergence=first_divergence(cases),
        cases=tuple(cases),
        precision=precision_verdicts(cases),
    )


def summarise(cases: Sequence[CaseComparison]) -> Summary:
    """Counts rows; see Summary for what counts as what."""
    passed = failed = unmatched = 0
    for case in cases:
        passed += sum(layer.verdict == "pass" for layer in case.layers)
        failed += sum(layer.verdict != "pass" for layer in case.layers)
        failed += sum(not item.explained for item in case.unmatched)
        unmatched += sum(item.explained for item in case.unmatched)
    return Summary(passed, failed, unmatched, passed + failed + unmatched)


def first_divergence(cases: Sequence[CaseComparison]) -> FirstDivergence | None:
    """The first failing row of the first case that has one; see FirstDivergence."""
    for case in cases:
        first = first_failing(case.layers)
        if first is not None:
            return _divergence(case, first)
    return None


def with_engine(result: ComparisonResult, directory: Path) -> ComparisonResult:
    """The result with the ``engine.json`` of a folder; the worse verdict counts."""
    file = Path(directory) / ENGINE_FILE
    advice = "`make engine` writes it anew."
    raw = read_versioned(file, "schema_version", ENGINE_SCHEMA_VERSION, advice)
    engine = validated(EngineResult, raw, file)
    return replace(result, engine=engine, verdict=_verdict(result.cases, engine))


def with_engine_beside(result: ComparisonResult, directory: Path) -> ComparisonResult:
    """The result with the ``engine.json`` of its folder, if there is one.

    Raises MmparityError if it cannot be read, or if other trees ran in the engine.
    """
    if not (Path(directory) / ENGINE_FILE).is_file():
        return result
    both = with_engine(result, directory)
    assert both.engine is not None
    there, here = map(_trees, (both.engine.provenance, result.provenance))
    other = [name for name in here if there.get(name, here[name]) != here[name]]
    if other:
        raise MmparityError(
            f"{Path(directory) / ENGINE_FILE} is of another {other[0]} and is left out "
            "of the report: `make engine` runs this one."
        )
    return both


def write_result(result: ComparisonResult, directory: Path) -> Path:
    """Writes ``comparison.json`` whole or not at all, and returns its path.

    Reports of the one before go first.
    """
    text = to_json(result)
    _remove(REPORTS.values(), directory)
    return write_text(Path(directory) / FILE_NAME, text)


def remove_result(directory: Path) -> None:
    """Removes a result and its reports, which a new one would take the place of.

    What ends before it has a result of its own leaves none that looks like it.
    """
    _remove((FILE_NAME, *REPORTS.values()), directory)


def _remove(names: Iterable[str], directory: Path) -> None:
    for name in names:
        (Path(directory) / name).unlink(missing_ok=True)


def to_json(result: ComparisonResult) -> str:
    """Strict JSON: an infinite number is the string ``"Infinity"``."""
    return json.dumps(plain(result), indent=1, allow_nan=False) + "\n"


def read_result(file: Path) -> ComparisonResult:
    """Reads ``comparison.json``, or the one inside a folder, and checks its form."""
    file = Path(file)
    if file.is_dir():
        file = file / FILE_NAME
    raw = read_versioned(file, "schema_version", SCHEMA_VERSION, _writer)
    result = validated(ComparisonResult, raw, file)
    problem = _contradiction(result)
    if problem:
        raise MmparityError(
            f"{file}: {problem}. It was changed after it was written: run it again."
        )
    return result


def _contradiction(result: ComparisonResult) -> str:
    """What of a result does not follow from its rows; '' where all does."""
    ids = [case.id for case in result.cases]
    if len(set(ids)) != len(ids):
        return "a case is there twice"
    for case in result.cases:
        names = [layer.hook_point for layer in case.layers]
        if len(set(names)) != len(names):
            return f"a hook point is there twice in {_shown(case.id)}"
        good = [layer.verdict == "pass" for layer in case.layers]
        good += [item.explained for item in case.unmatched]
        good += [item.verdict != "undeclared" for item in case.structure]
        if case.verdict == "pass" and not (case.layers and all(good)):
            return f"{_shown(case.id)} is a pass, and not all of its rows are"
    verdict = _verdict(result.cases, result.engine)
    if result.verdict != verdict:
        return f"its verdict is {result.verdict}, and its rows make {verdict}"
    if result.summary != summarise(result.cases):
        return "its summary does not count its rows"
    return ""


def _writer(raw: Any) -> str:
    """Who wrote a result that cannot be read, and what to do."""
    found = raw.get("provenance") if isinstance(raw, dict) else None
    if not isinstance(found, dict) or "command" not in found:
        return "It was not written by mmparity."
    command = printable(str(found["command"]))[:200]
    created = printable(str(found.get("created")))[:40]
    return (
        f"`{command}` wrote it on {created}: "
        "render it with the mmparity of that time, or run it again."
    )


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _trees(provenance: Provenance) -> dict[str, str | None]:
    """Name of each source -> the id of the tree that ran."""
    return {name: source.tree for name, source in provenance.sources.items()}


def _verdict(
    cases: Sequence[CaseComparison], engine: EngineResult | None = None
) -> Verdict:
    """Of all cases, and of the engine where it ran; it alone is no comparison."""
    layers = worst(case.verdict for case in cases)
    return worst((layers, engine.verdict)) if engine else layers


def _divergence(case: CaseComparison, layer: LayerComparison) -> FirstDivergence:
    before = [item for item in case.layers if item.order < layer.order]
    after = [item for item in case.layers if item.order > layer.order]
    metrics = layer.metrics
    return FirstDivergence(
        case=case.id,
        hook_point=layer.hook_point,
        reason=layer.reason,
        exceeded=layer.exceeded,
        value=layer.value,
        allowed=layer.allowed,
        worst_index=metrics.worst_index if metrics else None,
        old_at_worst=metrics.old_at_worst if metrics else None,
        new_at_worst=metrics.new_at_worst if metrics else None,
        last_passing=_last_passing(before),
        later_failing=sum(item.verdict != "pass" for item in after),
        later_total=len(after),
        descent=descent(layer.hook_point, case.layers),
        about=between(layer, case.layers),
    )


def _last_passing(before: Sequence[LayerComparison]) -> str | None:
    passing = [layer.hook_point for layer in before if layer.verdict == "pass"]
    return passing[-1] if passing else None
