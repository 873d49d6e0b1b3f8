# SPDX-License-Identifier: Apache-2.0
"""Stored results under other thresholds and floors, and their differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mmparity.commands.judge import diff, floors, rejudge
from mmparity.compare.case import compare_traces
from mmparity.compare.floors import (
    Floors,
    margin,
    measure_floors,
    read_floors,
    write_floors,
)
from mmparity.compare.rejudge import Rule, read_rules
from mmparity.compare.rejudge import rejudge as judge
from mmparity.compare.result import build_result, read_result, to_json, write_result
from mmparity.compare.result_diff import difference, lines
from mmparity.engine.offline.result import build
from mmparity.errors import MmparityError
from mmparity.report import render, terminal_summary
from mmparity.types.comparison import (
    CaseComparison,
    ComparisonResult,
    StructuralDifference,
)
from mmparity.types.engine import EngineResult, EngineRow, EngineSummary
from mmparity.types.evidence import PatchText, Reuse
from mmparity.types.provenance import Machine, Provenance
from mmparity.types.row import LayerComparison
from mmparity.types.stages import Stages
from mmparity.types.verdict import Verdict

if TYPE_CHECKING:
    from conftest import Sides

POINT = "blocks.1.attn.context"
PROVENANCE = Provenance("2025-12-01", seconds=1.0, machine=Machine(processor="EPYC"))
LOOSE = Rule("blocks.?.attn.context", "a fused kernel", {"normalized_l2_error": 1.0})


def result_of(case: CaseComparison) -> ComparisonResult:
    return build_result([case], PROVENANCE)


@pytest.fixture
def failing(sides: Sides) -> ComparisonResult:
    """One hook point is 1 % too large."""
    sides.new[POINT] = sides.new[POINT] * 1.01
    old, new, _ = sides.readers()
    return result_of(compare_traces(old, new, None))


@pytest.fixture
def null(sides: Sides, tmp_path: Path) -> ComparisonResult:
    """A null pair: one implementation, other roundings."""
    old, new, _ = type(sides)(tmp_path / "null").readers()
    return result_of(replace(compare_traces(old, new, None), new="old"))


def row(result: ComparisonResult, name: str = POINT) -> LayerComparison:
    return next(x for x in result.cases[0].layers if x.hook_point == name)


def test_without_rules_nothing_changes(failing: ComparisonResult) -> None:
    assert failing.verdict == "fail"
    assert to_json(judge(failing)) == to_json(failing)


@pytest.mark.parametrize("engine", ["fail", "error"])
@pytest.mark.parametrize("floors", [None, Floors({}, ("x",))])
def test_what_is_not_judged_again_is_kept_and_counts(
    null: ComparisonResult, engine: Verdict, floors: Floors | None
) -> None:
    row = EngineRow("qwen2-vl", "one image", "old", "new", engine)
    served = build([row], [], {}, (), {})
    reuse, patch = Reuse(captured=3), PatchText("slug", "vllm-0.12.0", "title", "diff")
    stored = replace(null, verdict=engine, engine=served, reuse=reuse, patches=(patch,))
    judged = judge(stored, floors=floors)
    assert judged.verdict == engine
    assert (judged.engine, judged.reuse, judged.patches) == (served, reuse, (patch,))


def test_a_rule_lets_its_rows_pass_and_is_shown(failing: ComparisonResult) -> None:
    bounds = dict.fromkeys(
        ("normalized_l2_error", "max_token_error", "max_element_error"), 1.0
    )
    judged = judge(failing, [replace(LOOSE, bounds=bounds)])
    assert judged.verdict == "pass"
    assert row(judged).tolerance.reason == "OVERRIDDEN: a fused kernel"
    assert judged.provenance.tolerance_overrides == (
        "blocks.?.attn.context (every dtype): a fused kernel; 2 rows",
    )
    assert "TOLERANCES OVERRIDDEN" in terminal_summary(judged)
    for text in render(judged, ["html", "markdown", "text"]).values():
        assert "a fused kernel" in text


def test_a_rule_that_is_too_tight_fails_what_passed(null: ComparisonResult) -> None:
    assert null.verdict == "pass"
    tight = Rule("patch_embed", "must be exact", {"normalized_l2_error": 0.0})
    judged = judge(null, [tight])
    assert judged.verdict == "fail"
    assert row(judged, "patch_embed").exceeded == "normalized_l2_error"
    assert "0 allowed" in row(judged, "patch_embed").reason


def test_a_rule_for_another_dtype_is_refused_as_unused(
    failing: ComparisonResult,
) -> None:
    with pytest.raises(MmparityError, match="no row fits"):
        judge(failing, [replace(LOOSE, dtype="bfloat16")])


def test_an_exact_row_cannot_be_loosened(failing: ComparisonResult) -> None:
    with pytest.raises(MmparityError, match="compared exactly"):
        judge(failing, [replace(LOOSE, hook_point="*.seqlens")])


def test_a_case_in_which_an_encoder_raised_stays_an_error(sides: Sides) -> None:
    first = dict(list(sides.new.items())[:3])
    sides.new_meta = replace(sides.new_meta, raised="merger raised ValueError: no")
    sides.new = first
    old, new, _ = sides.readers()
    stored = result_of(compare_traces(old, new, None))
    assert stored.verdict == "error"
    assert to_json(judge(stored)) == to_json(stored)


def test_a_row_without_metrics_never_passes(failing: ComparisonResult) -> None:
    case = failing.cases[0]
    broken = replace(row(failing), metrics=None, reason="old is not finite")
    layers = tuple(broken if x.hook_point == POINT else x for x in case.layers)
    judged = judge(result_of(replace(case, layers=layers)), [LOOSE])
    assert row(judged).verdict == "fail"
    assert row(judged).reason == "old is not finite"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[rule]]\nhook_point = 'a'\nmax_token_error = 1.0\n",
        "[[rule]]\nhook_point = 'a'\nreason = ' '\nmax_token_error = 1.0\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\nexact = false\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\nidentical = 0\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\nmax_token_error = -1\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\nmax_token_error = nan\n",
        f"[[rule]]\nhook_point = 'a'\nreason = 'b'\nmax_token_error = 1{'0' * 400}\n",
        "[[rule]]\nhook_point = 'a'\nreason = 'b'\nmax_token_error = 1\ndtype = 5\n",
        f"rule = {'[' * 5000}{']' * 5000}",
        "not toml",
    ],
)
def test_a_file_that_is_no_rules_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(MmparityError, match="is no file of tolerances"):
        read_rules(tmp_path / "rules.toml")


def test_floors_are_the_largest_null_error_over_blocks(
    null: ComparisonResult, tmp_path: Path
) -> None:
    found = measure_floors([null])
    errors = [
        layer.metrics.normalized_l2_error
        for layer in null.cases[0].layers
        if layer.metrics and layer.hook_point.endswith("attn.context")
    ]
    assert len(errors) == 2
    assert found.errors["float32"]["blocks.{i}.attn.context"] == max(errors)
    assert "EPYC" in found.sources[0]
    write_floors(found, tmp_path / "floors.json")
    assert read_floors(tmp_path / "floors.json") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "errors": [], "sources": []}',
        '{"version": 1, "errors": {"float32": 1}, "sources": []}',
        '{"version": 1, "errors": {"float32": {"a": NaN}}, "sources": []}',
        '{"version": 1, "errors": {"float32": {"a": -1}}, "sources": []}',
        '{"version": 1, "errors": {"float32": {"a": "Infinity"}}, "sources": []}',
        '{"version": 1, "errors": {"float32": {"a": '
        + "1" * 5000
        + '}}, "sources": []}',
        '{"version": 1, "errors": {}, "sources": "x"}',
    ],
)
def test_a_file_that_is_no_floors_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "floors.json").write_text(text)
    with pytest.raises(MmparityError, match=r"floors\.json") as caught:
        read_floors(tmp_path / "floors.json")
    assert "\n" not in str(caught.value)


def test_floors_that_cannot_be_written_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("for hours")

    monkeypatch.setattr("mmparity.commands.judge._null_pairs", measured)
    (tmp_path / "file").touch()
    out = tmp_path / "file/floors.json"
    words = ["--measure", "vllm-0.12.0", "--out", str(out)]
    with pytest.raises(MmparityError, match=r"cannot (write|be written)"):
        floors.main(words, standalone_mode=False)


def test_a_margin_is_error_over_floor(failing: ComparisonResult) -> None:
    layer = row(failing)
    error = layer.metrics.normalized_l2_error
    known = Floors({"float32": {"blocks.{i}.attn.context": error / 4}}, ("x",))
    assert margin(layer, "float32", known).startswith("4 times the null floor")
    assert margin(layer, "bfloat16", known) == "no null floor measured"
    zero = Floors({"float32": {"blocks.{i}.attn.context": 0.0}}, ("x",))
    assert margin(layer, "float32", zero).endswith("this not")
    judged = judge(failing, floors=known)
    assert "4 times the null floor" in row(judged).tolerance.reason
    assert judged.provenance.null_floors == ("x",)
    assert (row(judged).null_floor, row(judged).margin) == (error / 4, 4.0)


def test_two_implementations_are_no_null_pair(failing: ComparisonResult) -> None:
    other = result_of(replace(failing.cases[0], new="another"))
    with pytest.raises(MmparityError, match="no null pair"):
        measure_floors([other])


def test_difference_names_what_changed(failing: ComparisonResult) -> None:
    later = replace(failing, provenance=Provenance("2026"))
    assert difference(failing, later) == {}
    assert list(lines({})) == ["the same"]
    bounds = dict.fromkeys(
        ("normalized_l2_error", "max_token_error", "max_element_error"), 1.0
    )
    judged = judge(failing, [replace(LOOSE, bounds=bounds)])
    text = "\n".join(lines(difference(failing, judged)))
    assert f"[{POINT!r}]['verdict']: fail -> pass" in text
    assert "blocks.0.attn.q" not in text


def test_difference_of_structure_and_engine_is_named(
    failing: ComparisonResult,
) -> None:
    case = failing.cases[0]
    extra = StructuralDifference(
        "modules", "only in new", "merger", (), "", "Merger", "undeclared"
    )
    engine = EngineResult(
        "pass", EngineSummary(0, 0, 0, 0, 0), (), (), {}, (), Provenance()
    )
    later = replace(
        failing,
        cases=(replace(case, structure=(extra,)),),
        engine=engine,
    )
    text = "\n".join(lines(difference(failing, later)))
    assert "['structure']['modules: merger only in new ()']" in text
    assert "['engine']" in text
    slower = replace(engine, provenance=Provenance(seconds=3))
    assert difference(later, replace(later, engine=slower)) == {}
    cached = replace(later, stages=Stages({"cache": 1.0}), reuse=Reuse(captured=3))
    assert difference(later, cached) == {}


def test_a_case_of_one_side_is_named(failing: ComparisonResult) -> None:
    other = result_of(replace(failing.cases[0], id="another"))
    found = list(lines(difference(failing, other)))
    assert "dictionary item added: ['cases']['another']" in found
    assert f"dictionary item removed: ['cases'][{failing.cases[0].id!r}]" in found


def test_commands(
    failing: ComparisonResult, null: ComparisonResult, tmp_path: Path
) -> None:
    for name, result in (("a", failing), ("n", null)):
        write_result(result, tmp_path / name)
    a, n, out = (str(tmp_path / name) for name in ("a", "n", "out"))
    file = str(tmp_path / "floors.json")
    run = CliRunner().invoke
    assert run(diff, [a, a]).exit_code == 0
    assert run(diff, [a, n]).exit_code == 1
    assert run(floors, [n, "--out", file]).exit_code == 0
    assert run(rejudge, [a, "--floors", file, "--out", out]).exit_code == 1
    assert read_result(Path(out)).verdict == "fail"
    same = run(rejudge, [a, "--out", a])
    assert isinstance(same.exception, MmparityError)
