# SPDX-License-Identifier: Apache-2.0
"""What the whole engine did stands beside the layers, and counts in the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mmparity.compare.result import (
    read_result,
    with_engine,
    with_engine_beside,
    write_result,
)
from mmparity.engine.offline.result import write_result as write_engine
from mmparity.errors import MmparityError
from mmparity.report import render, terminal_summary
from mmparity.types.comparison import ComparisonResult
from mmparity.types.engine import EngineResult
from mmparity.types.provenance import Provenance, Source


def written(engine: EngineResult, folder: Path) -> Path:
    write_engine(engine, folder)
    return folder


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
def test_answers_memory_and_speed_are_shown(
    passing: ComparisonResult, form: str
) -> None:
    text = render(passing, [form])[form]
    for expected in (
        "1 of 2 scenarios the same, 1 refused by a side, as declared",
        "one image",
        "equal bits",
        "after 500 images",
        "2.861 MiB by 63 entries",
        "after reset_encoder_cache",
        "no such call",
        "+0.94%",
        "token to token",
        "12.5 ms",
    ):
        assert expected in text


def test_memory_over_requests_is_drawn_for_each_side(passing: ComparisonResult) -> None:
    text = render(passing, ["html"])["html"]
    before, _, rest = text.partition('id="memory-1-t">Resident memory over requests')
    key, chart = before.rpartition('<ul class="key">')[2], rest.partition("</svg>")[0]
    assert "vllm-0.12.0: 488.3 MiB after 25 requests, 492.9 MiB after 2,000." in chart
    assert chart.count('class="line ') == 2
    for css, side in (("old-oracle", "vllm-0.12.0"), ("new-oracle", "unified")):
        assert f'<li class="{css}">{side}</li>' in key and f'line {css}"' in chart


def test_engine_that_differs_fails_a_comparison_that_passes(
    passing: ComparisonResult, failing_engine: EngineResult, tmp_path: Path
) -> None:
    result = with_engine(passing, written(failing_engine, tmp_path))
    assert (passing.verdict, result.verdict) == ("pass", "fail")
    assert read_result(write_result(result, tmp_path)) == result
    assert "but the engine is not" in terminal_summary(result)
    assert "engine: FAIL, 0 of 2 scenarios the same, 1 differ" in terminal_summary(
        result
    )
    page = render(result, ["html"])["html"]
    assert "The engine differs" in page
    assert "a logprob differs by 0.2 (0 allowed)" in page
    suite = ElementTree.fromstring(render(result, ["junit"])["junit"])
    assert (suite.get("failures"), suite.get("skipped")) == ("2", "1")
    failed = [
        item.get("name")
        for item in suite.iter("testcase")
        if item.find("failure") is not None
    ]
    assert failed == ["qwen2-vl one image", "comparison"]


def test_engine_that_passes_hides_no_failing_layer(
    passing: ComparisonResult, failing: ComparisonResult, tmp_path: Path
) -> None:
    assert passing.engine is not None
    result = with_engine(failing, written(passing.engine, tmp_path))
    assert result.verdict == "fail"


@pytest.mark.parametrize(("ran", "shown"), [("a1", True), ("b2", False)])
def test_a_run_shows_the_engine_of_its_own_trees(
    passing: ComparisonResult, tmp_path: Path, ran: str, shown: bool
) -> None:
    assert passing.engine is not None
    of = Provenance(sources={"patched/vllm-0.12.0": Source(tree=ran)})
    written(replace(passing.engine, provenance=of), tmp_path)
    sources = {"patched/vllm-0.12.0": Source(tree="a1"), "vllm": Source()}
    provenance = Provenance(sources=sources)
    alone = replace(passing, engine=None, provenance=provenance)
    assert with_engine_beside(alone, tmp_path / "empty") is alone
    if shown:
        assert with_engine_beside(alone, tmp_path).engine is not None
    else:
        with pytest.raises(MmparityError, match=r"another patched/vllm-0\.12\.0"):
            with_engine_beside(alone, tmp_path)


def test_foreign_engine_result_is_refused(
    passing: ComparisonResult, tmp_path: Path
) -> None:
    (tmp_path / "engine.json").write_text('{"verdict": "fine"}')
    with pytest.raises(MmparityError, match=r"schema_version None; this tool reads 1"):
        with_engine(passing, tmp_path)


def test_without_an_engine_nothing_is_said_of_it(passing: ComparisonResult) -> None:
    result = replace(passing, engine=None)
    assert 'id="engine"' not in render(result, ["html"])["html"]


def test_engine_that_could_not_be_judged_is_an_error_of_the_whole(
    passing: ComparisonResult, failing_engine: EngineResult, tmp_path: Path
) -> None:
    said = f"ascend-0.11.0 ended with exit status -9 {'x' * 300}"
    engine = replace(failing_engine, verdict="error", errors=(said,))
    result = with_engine(passing, written(engine, tmp_path))
    page = render(result, ["html"])["html"]
    assert result.verdict == "error"
    assert "every layer is the same, but the engine could not be judged" in page
    assert f"<li>{said}</li>" in page
