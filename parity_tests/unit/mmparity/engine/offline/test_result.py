# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.commands.engine import attach
from mmparity.compare import result as comparisons
from mmparity.engine.offline.result import build, judge_memory, to_json, write_result
from mmparity.engine.offline.text import summary
from mmparity.types.engine import EngineFigures, EnginePoint, EngineResult, EngineRow
from mmparity.types.provenance import Provenance

MIB = 1 << 20


def held(entries: int, own: int, kept: int) -> dict[str, int]:
    return {
        "entries": entries,
        "entry_bytes": own,
        "held_bytes": kept,
        "tensor_bytes": kept,
        "resident_bytes": 100 * MIB,
    }


FIGURES = EngineFigures(
    "unified",
    "qwen2.5-vl",
    500,
    {
        "before serving": held(0, 0, 0),
        "after 500 images": held(9, 9 * MIB, 9 * MIB),
        "after reset_encoder_cache": held(0, 0, 0),
    },
    (
        EnginePoint(100, 90 * MIB),
        EnginePoint(200, 100 * MIB),
        EnginePoint(2000, 101 * MIB),
    ),
)


def rows(*verdicts: str) -> list[EngineRow]:
    return [
        EngineRow("qwen3-vl", "video", "vllm-0.12.0", "unified", verdict)  # type: ignore[arg-type]
        for verdict in verdicts
    ]


def result(*verdicts: str, errors: tuple[str, ...] = ()) -> EngineResult:
    return build(rows(*verdicts), [], {}, errors, Provenance())


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (("pass", "cannot run"), "pass"),
        (("pass", "fail"), "fail"),
        (("fail",), "fail"),
        (("pass", "fail", "error"), "error"),
        (("cannot run", "cannot run"), "error"),
        ((), "error"),
    ],
)
def test_verdict_over_rows(verdicts: tuple[str, ...], verdict: str) -> None:
    found = result(*verdicts)
    assert found.verdict == verdict
    counted = found.summary
    assert (
        counted.total
        == len(verdicts)
        == (counted.passed + counted.failed + counted.errors + counted.cannot_run)
    )


def test_a_process_that_ended_early_is_an_error_whatever_the_rows_say() -> None:
    assert result("pass", errors=("unified ended",)).verdict == "error"


def test_flat_memory_and_a_cache_that_is_given_back_pass() -> None:
    found = judge_memory(FIGURES)
    assert (found.verdict, found.reason) == ("pass", "")
    assert found.growth == pytest.approx(0.01), "what came before the warm-up is out"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"points": (EnginePoint(200, 100 * MIB), EnginePoint(2000, 103 * MIB))},
            "grew by 3.0%",
        ),
        ({"points": ()}, "no requests"),
        ({"points": (EnginePoint(25, 100 * MIB),)}, "too few requests"),
        (
            {"held": {**FIGURES.held, "after reset_encoder_cache": held(1, 0, 5)}},
            "5 bytes are held after the reset",
        ),
        (
            {"held": {**FIGURES.held, "after 500 images": held(9, 9, 90)}},
            "more than their own bytes",
        ),
        (
            {"held": {**FIGURES.held, "after 500 images": held(0, 0, 0)}},
            "never filled",
        ),
        (
            {"held": {"after 500 images": FIGURES.held["after 500 images"]}},
            "no reset_encoder_cache",
        ),
    ],
)
def test_what_memory_fails_for(change: dict[str, object], reason: str) -> None:
    found = judge_memory(replace(FIGURES, **change))  # type: ignore[arg-type]
    assert found.verdict == "fail" and reason in found.reason
    assert build(rows("pass"), [found], {}, (), Provenance()).verdict == "fail"


def test_another_side_is_only_shown() -> None:
    grown = replace(
        FIGURES,
        side="vllm-0.12.0",
        points=(EnginePoint(200, 100 * MIB), EnginePoint(2000, 150 * MIB)),
    )
    found = judge_memory(grown)
    assert (found.verdict, found.allowed) == ("shown", None)
    assert found.growth == pytest.approx(0.5)


def test_the_file_is_strict_json_and_the_summary_names_every_row() -> None:
    row = replace(rows("fail")[0], logprob_difference=float("inf"))
    row = replace(row, embedding_difference=0.5, reason="bits differ")
    made = build(
        [row], [judge_memory(FIGURES)], {"unified": ("A > B",)}, (), Provenance()
    )
    raw = json.loads(to_json(made))
    assert raw["rows"][0]["logprob_difference"] == "Infinity"
    assert raw["memory"][0]["figures"]["points"][2]["requests"] == 2000
    text = summary(made)
    assert "bits differ" in text and "grew by 1.00%" in text


def test_a_served_row_has_no_embeddings_in_the_summary() -> None:
    row = replace(rows("pass")[0], exact=False, logprob_difference=3e-6)
    served = replace(row, embedding_difference=None)
    text = summary(build([served], [], {}, (), Provenance()))
    assert "logprobs within 3.0e-06" in text and "embeddings within" not in text


def test_a_comparison_in_the_folder_gets_the_result_and_new_reports(
    tmp_path: Path,
) -> None:
    made = build(rows("pass"), [judge_memory(FIGURES)], {}, (), Provenance())
    write_result(made, tmp_path)
    assert attach(tmp_path) == [], "there is no comparison to attach it to"
    result = comparisons.build_result([], Provenance(command="x"))
    comparisons.write_result(result, tmp_path)
    reports = attach(tmp_path)
    assert comparisons.read_result(tmp_path).engine == made
    assert "after 500 images" in next(
        file.read_text() for file in reports if file.suffix == ".html"
    )
