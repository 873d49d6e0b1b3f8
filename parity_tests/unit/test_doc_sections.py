# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import doc_sections
from mmparity.errors import MmparityError

ROOT = Path(__file__).resolve().parents[2]


def layer(verdict: str, error: float | None) -> dict[str, Any]:
    keys = ("normalized_l2_error", "old_oracle_error", "new_oracle_error")
    metrics = None if error is None else dict.fromkeys(keys, error)
    return {"verdict": verdict, "metrics": metrics}


def case(name: str, verdict: str, *layers: dict[str, Any]) -> dict[str, Any]:
    pair = {"old": "a", "new": "b", "dtype": "float32"}
    return {"name": name, "verdict": verdict, "layers": list(layers), **pair}


RESULT = {
    "verdict": "fail",
    "summary": {"passed": 2, "failed": 1, "unmatched": 4, "total": 7},
    "provenance": {
        "command": "mmparity run",
        "machine": {"cpus": 2, "processor": "A CPU"},
    },
    "cases": [
        case("image", "pass", layer("pass", 2e-6)),
        case("video", "fail", layer("fail", 0.5), layer("pass", None)),
    ],
}


def test_result_has_one_row_for_each_pair_with_its_worst_case() -> None:
    section = doc_sections.result_section(RESULT)
    rows = [line for line in section.splitlines() if line.startswith("| a ")]
    assert rows == ["| a | b | float32 | 2 of 3 | 5.0e-01 | 5.0e-01 | 5.0e-01 | fail |"]
    assert "**fail**, 2 of 3 rows within tolerance, 4 hook points of" in section


def test_error_outranks_pass() -> None:
    row = doc_sections.result_row(
        ("a", "b", "float32"), [case("x", "pass"), case("y", "error")]
    )
    assert row == "| a | b | float32 | 0 of 0 | - | - | - | error |"


def test_infinite_error_is_the_largest() -> None:
    layers = [layer("fail", 1.0), layer("fail", "Infinity")]  # type: ignore[arg-type]
    assert doc_sections.largest(layers, "normalized_l2_error") == "inf"


def test_section_is_replaced_and_the_rest_kept() -> None:
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    once = doc_sections.replace_section(text, "x", "new\n")
    assert once == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
    assert doc_sections.replace_section(once, "x", "new\n") == once


def test_missing_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="x:begin"):
        doc_sections.replace_section("no marker", "x", "new\n")


def test_markers_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="after it") as caught:
        doc_sections.replace_section("<!-- x:end -->\n<!-- x:begin -->\nb", "x", "n")
    assert "x:begin" in str(caught.value)


def test_summary_is_the_first_sentence(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text(
        '"""Reads ``a.json``, not\nmuch else. Then more.\n\nAnd more."""\n'
    )
    assert doc_sections.summary_of(module) == "Reads `a.json`, not much else"


@pytest.mark.parametrize("package", doc_sections.PACKAGES)
def test_architecture_lists_every_module(package: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = doc_sections.module_table(package)
    assert table in text, "run `make docs` and review `git diff docs`"
    assert table.count("| `") >= 10
    empty = [line for line in table.splitlines() if line.endswith("|  |")]
    assert empty == []


def test_a_map_that_cannot_be_read_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable() -> None:
        raise MmparityError("overrides.toml cannot be read")

    monkeypatch.setattr("mmparity.compare.evidence.overrides.read_map", unreadable)
    monkeypatch.setattr("sys.argv", ["doc_sections"])
    assert doc_sections.main() == 2
    assert "overrides.toml cannot be read" in capsys.readouterr().err
